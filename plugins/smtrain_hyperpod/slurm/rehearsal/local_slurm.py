"""A rehearsal in the Slurm of this machine: the job itself, shortened, with its files in the rehearsal's folder."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from smtrain.plugin import ExitCode, LogLine, Observer, Receipt, Rehearsal, State, fail
from smtrain_hyperpod.slurm import cluster_look
from smtrain_hyperpod.slurm.following import job_look, logs, status
from smtrain_hyperpod.slurm.following.submitted import Target
from smtrain_hyperpod.transport.reached import login_node

_POLL_S = 1.0
_STARTS_S = 30


def is_there() -> bool:
    """Whether this machine has a Slurm that answers."""
    if shutil.which("sbatch") is None or shutil.which("sinfo") is None:
        return False
    try:
        done = subprocess.run(("sinfo", "--noheader"), capture_output=True, timeout=_STARTS_S, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0 and bool(done.stdout.strip())


def rehearse(
    run_dir: Path,
    target: Target,
    receipt: Receipt,
    *,
    env: Mapping[str, str],
    rehearsal: Rehearsal,
    observer: Observer,
) -> Receipt:
    """Submits the bundle's job, shows its lines until it ends, and returns what became of it.

    Raises:
      SmtrainError: Slurm refuses the job, or does not answer any more.
    """
    job = _submit(run_dir, target, env=env, timeout_s=rehearsal.timeout_s)
    observer.line(f"smtrain: rehearsed as job {job} of this machine's Slurm")
    login = login_node(None)
    deadline = time.monotonic() + rehearsal.timeout_s
    growing = logs.growing(login, str(run_dir), job, target.nodes)
    stopped = False
    try:
        while (seen := job_look.look(login, job, str(run_dir))).state is State.RUNNING:
            _show(growing.poll(), observer)
            if time.monotonic() > deadline and not stopped:
                observer.line(f"smtrain: {rehearsal.timeout_s} s are over: the job is asked to end")
                login.run(("scancel", "--batch", "--signal=TERM", job) if seen.started else ("scancel", job))
                stopped = True
            time.sleep(_POLL_S)
    except BaseException:
        login.run(("scancel", job))
        raise
    _show(growing.poll(), observer)
    ended = status.as_receipt(replace(receipt, job=job), seen, now=time.time())
    return replace(ended, job="")


def _submit(run_dir: Path, target: Target, *, env: Mapping[str, str], timeout_s: int) -> str:
    (run_dir / "logs").mkdir(exist_ok=True)
    rows = cluster_look.look(login_node(None))
    names = {row.partition for row in rows} if not isinstance(rows, str) else set()
    default = next((row.partition for row in rows if row.is_default), "") if not isinstance(rows, str) else ""
    wanted = set((target.partition or "").split(",")) - {""}
    options = [
        f"--chdir={run_dir}",
        f"--output={run_dir}/logs/job-%j.log",
        f"--time={max(1, -(-timeout_s // 60)) + 1}",
        "--signal=B:USR1@30",
        "--no-requeue",
        # Another cluster than the one that the run is for.
        *((f"--partition={default}",) if wanted - names and default else ()),
    ]
    argv = ("sbatch", "--parsable", *options, str(run_dir / "bundle" / "job.sbatch"))
    done = subprocess.run(argv, env=dict(env), capture_output=True, text=True, check=False)
    if done.returncode:
        what = f"The Slurm of this machine does not take the job: {done.stderr.strip()}"
        raise fail(what, "Correct what it refuses, or rehearse where there is no Slurm.", code=ExitCode.REMOTE_REFUSED)
    return done.stdout.strip().partition(";")[0]


def _show(lines: Iterator[LogLine], observer: Observer) -> None:
    for line in lines:
        observer.line(f"{line.host}  {line.text}" if line.host else line.text)
