"""Submit: a bundle's directory → `Receipt`; runs its actions in order and reads nothing but that directory."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from smtrain import runs, workload
from smtrain.errors import ExitCode, fail
from smtrain.manifest import Manifest
from smtrain.progress import Observer
from smtrain.spec import Exec, Receipt, State


def submit(
    run_dir: Path, manifest: Manifest, *, env: Mapping[str, str], observer: Observer, detach: bool = False
) -> Receipt:
    """Executes the bundle in `run_dir/bundle` and returns what came of it.

    Args:
      run_dir: the run's folder.
      manifest: the bundle's manifest, already proven.
      env: environment of the actions.
      observer: is shown the workload's lines and progress.
      detach: come back once the workload goes.

    Raises:
      SmtrainError: an action that hands the job over failed, or the run is going already.
    """
    receipt = Receipt(run_id=run_dir.name, backend=manifest.backend, state=State.RUNNING, started=time.time())
    for action in manifest.actions:
        if action.workload:
            receipt = workload.launch(
                run_dir,
                action,
                receipt=receipt,
                env=env,
                observer=observer,
                progress=manifest.progress,
                detach=detach,
            )
        else:
            _hand_over(run_dir, action, env)
            runs.write_receipt(run_dir, receipt)
    return receipt


def _hand_over(run_dir: Path, action: Exec, env: Mapping[str, str]) -> None:
    try:
        done = subprocess.run(action.argv, cwd=run_dir / "bundle", env=env, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        what = f"There is no program `{action.argv[0]}` on this machine."
        raise fail(what, "Install it, or submit from where it is.", code=ExitCode.MISSING_HERE) from error
    if done.returncode:
        message = (done.stderr or done.stdout).strip()
        what = f"`{' '.join(action.argv)}` ended with exit code {done.returncode}: {message}"
        raise fail(what, "Nothing was started.", code=ExitCode.REMOTE_REFUSED)
