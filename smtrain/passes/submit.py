"""Submit: a bundle's directory → `Receipt`; runs its actions in order and reads nothing but that directory."""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import cast

from smtrain import receipts, runs, workload
from smtrain.errors import ExitCode, SmtrainError, fail
from smtrain.interfaces import Backend
from smtrain.manifest import Manifest
from smtrain.progress import Observer
from smtrain.remote_interfaces import Handed, HandsOver, HandsOverTogether
from smtrain.spec import ApiCall, Exec, Expect, HandOver, Json, Receipt, State, Upload
from smtrain.watching import Careful


def submit(
    run_dir: Path,
    manifest: Manifest,
    *,
    env: Mapping[str, str],
    observer: Observer,
    detach: bool = False,
    backend: Callable[[], Backend[object]] | None = None,
) -> Receipt:
    """Executes the bundle in `run_dir/bundle` and returns what came of it.

    Args:
      run_dir: the run's folder.
      manifest: the bundle's manifest, already proven.
      env: environment of the actions.
      observer: is shown the workload's lines and progress.
      detach: come back once the workload goes.
      backend: returns that of the bundle, for bundles that it hands over itself.

    Raises:
      SmtrainError: an action that hands the job over failed, or the run is going already.
    """
    with _alone(run_dir, manifest, observer):
        receipt = _starting(run_dir, manifest)
        for action in manifest.actions:
            if isinstance(action, HandOver):
                receipt = _handed_over(action, run_dir, receipt, backend, observer)
                continue
            receipt = _do(action, run_dir, receipt, manifest, env=env, observer=observer, detach=detach)
        return receipt


def is_handed_over_together(manifest: Manifest) -> bool:
    """Whether the last thing to do for a bundle is to hand it over with the others of its sweep."""
    last = manifest.actions[-1] if manifest.actions else None
    return isinstance(last, HandOver) and last.together


def submit_together(
    bundles: Mapping[Path, Manifest],
    *,
    env: Callable[[Path], Mapping[str, str]],
    observer: Observer,
    backend: Backend[object],
) -> dict[Path, Receipt]:
    """Executes the bundles of a sweep, whose jobs are given to their target in one go; returns what came of each.

    Args:
      bundles: run's folder → manifest of its bundle, for all of which `is_handed_over_together` holds.
      env: returns the environment of the actions of a run, by its folder.
      observer: is shown what happens.
      backend: that of all bundles.

    Raises:
      SmtrainError: an action failed; submitting again is safe.
    """
    with contextlib.ExitStack() as held:
        for run_dir in sorted(bundles):  # in one order, so that two sweeps never wait for each other
            held.enter_context(_alone(run_dir, bundles[run_dir], observer))
        handed = []
        for run_dir, manifest in bundles.items():
            receipt = _starting(run_dir, manifest)
            *before, last = manifest.actions
            for action in before:
                assert not isinstance(action, HandOver)
                receipt = _do(action, run_dir, receipt, manifest, env=env(run_dir), observer=observer, detach=True)
            assert isinstance(last, HandOver)
            handed.append(Handed(run_dir=run_dir, document=_document(last, run_dir), receipt=receipt))
        if not isinstance(backend, HandsOverTogether):
            raise _not_by(handed[0].receipt.backend, handed[0].run_dir)
        now = backend.hand_over_together(handed, observer=Careful(observer))
        for run, receipt in zip(handed, now, strict=True):
            receipts.write(run.run_dir, receipt)
        return {run.run_dir: receipt for run, receipt in zip(handed, now, strict=True)}


def _starting(run_dir: Path, manifest: Manifest) -> Receipt:
    """Returns a receipt to begin with: of the job that this run has at the target, where it has one."""
    before = receipts.read(run_dir)
    if before and before.job:
        return before
    tries = before.tries if before else 1
    return Receipt(run_id=run_dir.name, backend=manifest.backend, state=State.RUNNING, started=time.time(), tries=tries)


@contextlib.contextmanager
def _alone(run_dir: Path, manifest: Manifest, observer: Observer) -> Iterator[None]:
    """Waits for whoever submits the same bundle to the same target from this machine."""
    if not any(isinstance(action, ApiCall | HandOver) for action in manifest.actions):
        yield  # a workload of this machine holds the run's lock itself, for as long as it goes
        return
    with contextlib.ExitStack() as held:
        for waited in itertools.count():
            try:
                held.enter_context(runs.holding(run_dir))
                break
            except SmtrainError:
                if not waited:
                    observer.line("waiting: another submission of this run is under way")
        yield


def _handed_over(
    action: HandOver,
    run_dir: Path,
    receipt: Receipt,
    backend: Callable[[], Backend[object]] | None,
    observer: Observer,
) -> Receipt:
    hands: object = backend() if backend else None
    if not isinstance(hands, HandsOver):
        raise _not_by(receipt.backend, run_dir)
    receipt = hands.hand_over(run_dir, _document(action, run_dir), receipt, observer=Careful(observer))
    receipts.write(run_dir, receipt)
    return receipt


def _document(action: HandOver, run_dir: Path) -> Json:
    return cast("Json", json.loads((run_dir / "bundle" / action.document).read_text(encoding="utf-8")))


def _not_by(backend: str, run_dir: Path) -> SmtrainError:
    what = f"The backend `{backend}` does not hand over what its bundle `{run_dir / 'bundle'}` has it hand over."
    return fail(what, "Compile it again with the backend that is installed here.", code=ExitCode.BROKEN_PLUGIN)


def _do(
    action: Exec | Expect | Upload | ApiCall,
    run_dir: Path,
    receipt: Receipt,
    manifest: Manifest,
    *,
    env: Mapping[str, str],
    observer: Observer,
    detach: bool,
) -> Receipt:
    match action:
        case Exec(workload=True):
            return workload.launch(
                run_dir, action, receipt=receipt, env=env, observer=observer, progress=manifest.progress, detach=detach
            )
        case Exec():
            _hand_over(run_dir, action, env)
        case Expect():
            from smtrain.aws import expectations

            expectations.look(action)
            return receipt
        case Upload():
            from smtrain.aws import uploads

            uploads.upload(run_dir / "bundle", action, observer=Careful(observer))
            return receipt
        case ApiCall():
            from smtrain.aws import api_calls

            receipt = api_calls.make(run_dir / "bundle", action, receipt, observer=Careful(observer))
    receipts.write(run_dir, receipt)
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
