"""Executing a bundle on this machine, by the very scripts that the cluster would run."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from smtrain.plugin import Observer, Receipt, Rehearsal, SmtrainError, State, receipts, runs, workload
from smtrain_hyperpod.slurm.following import submitted
from smtrain_hyperpod.slurm.following.submitted import Target
from smtrain_hyperpod.slurm.rehearsal import inputs, local_slurm, stand_ins

GRACE_S = 60
"""Seconds between asking and killing, when the time that a rehearsal has is over."""


def rehearse(run_dir: Path, rehearsal: Rehearsal, *, env: Mapping[str, str], observer: Observer) -> Receipt:
    """Executes the bundle in `run_dir/bundle`; the arguments are those of `smtrain.plugin.Rehearses`.

    Raises:
      SmtrainError: the bundle is damaged, an input is none of its own, or the Slurm of this machine refuses the job.
    """
    run_dir = run_dir.absolute()
    problems = tuple(inputs.problems(run_dir / "bundle", rehearsal.inputs))
    if problems:
        raise SmtrainError(problems)
    backend = json.loads((run_dir / "bundle" / "manifest.json").read_text(encoding="utf-8"))["backend"]
    receipt = Receipt(run_id=run_dir.name, backend=str(backend), state=State.RUNNING, started=time.time())
    target = submitted.read(run_dir, receipt)
    variables = {**inputs.variables(rehearsal.inputs), "SMTRAIN_REHEARSAL": str(run_dir)}
    ended = (
        local_slurm.rehearse(run_dir, target, receipt, env={**env, **variables}, rehearsal=rehearsal, observer=observer)
        if local_slurm.is_there()
        else _with_stand_ins(run_dir, target, receipt, env={**env, **variables}, rehearsal=rehearsal, observer=observer)
    )
    receipts.write(run_dir, ended)
    return ended


def _with_stand_ins(
    run_dir: Path,
    target: Target,
    receipt: Receipt,
    *,
    env: Mapping[str, str],
    rehearsal: Rehearsal,
    observer: Observer,
) -> Receipt:
    nodes = f"{target.nodes} node{'s' if target.nodes > 1 else ''}"
    observer.line(
        f"smtrain: there is no Slurm here: stand-ins for srun and scontrol run job.sbatch, {nodes} on this machine"
    )
    observer.line("smtrain: prologue, virtual environment, conda and containers are left out, and nothing is installed")
    commands = stand_ins.write(run_dir / "stand-ins", docker=not rehearsal.docker)
    own = {
        "PATH": f"{commands}{os.pathsep}{env.get('PATH', os.defpath)}",
        # Of containers, where each node would install for itself.
        "PIP_NO_INDEX": "1",
        "SMTRAIN_REHEARSAL_PYTHON": env["SMTRAIN_PYTHON"],
        **stand_ins.job_variables(target.nodes, _free_job()),
    }
    end = ("timeout", "--foreground", "--preserve-status", "--signal=USR1", f"--kill-after={GRACE_S}")
    done = workload.run(
        run_dir, (*end, str(rehearsal.timeout_s), "bash", "job.sbatch"), env={**env, **own}, observer=observer
    )
    return _receipt(run_dir, receipt, done)


def _receipt(run_dir: Path, receipt: Receipt, done: workload.Ended) -> Receipt:
    failed = State.STOPPED if done.interrupted else State.FAILED
    texts = [path.read_text(encoding="utf-8", errors="replace").strip() for path in run_dir.glob("node-*/failure")]
    return replace(
        receipt,
        state=failed if done.exit_code else State.SUCCEEDED,
        exit_code=done.exit_code,
        step=runs.step(run_dir / "node-0"),
        reason=next((text for text in sorted(texts) if text), "") if done.exit_code else "",
        ended=time.time(),
    )


def _free_job() -> int:
    """Returns the id of a job whose ports, which follow from it, are free."""
    for job in range(os.getpid() % 10_000, 20_000):
        if all(_is_free(12_000 + 2 * (job % 10_000) + more) for more in (0, 1)):
            return job
    return 0


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
