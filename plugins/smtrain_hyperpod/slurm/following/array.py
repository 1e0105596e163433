"""Giving the runs of a sweep to Slurm as one job array."""

from __future__ import annotations

import hashlib
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from smtrain.plugin import ExitCode, Handed, Observer, Receipt, State, fail, submissions
from smtrain_hyperpod.slurm import array_script
from smtrain_hyperpod.slurm.cluster_look import refuse_what_cannot_be
from smtrain_hyperpod.slurm.following import submitted
from smtrain_hyperpod.slurm.following.hand_over import LONGEST_NAME, Slurm
from smtrain_hyperpod.slurm.following.submitted import Target
from smtrain_hyperpod.transport.login_node import LoginNode
from smtrain_hyperpod.transport.reached import login_node

_RECORD = r"""
set -euo pipefail
job=$1
task=0
while read -r run name; do
  mkdir -p -- "$run/jobs"
  printf '%s_%s\n' "$job" "$task" >"$run/jobs/.$name"
  mv -f -- "$run/jobs/.$name" "$run/jobs/$name"
  task=$((task + 1))
done
"""
"""Each run knows its own task afterwards, as it would know a job of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Point:
    """A run of the sweep.

    Attributes:
      receipt: so far.
      target: where it goes.
      slurm: what takes it.
      script: its job.sbatch.
      found: the receipt of a job that Slurm has already, or the name of the one to be made.
    """

    receipt: Receipt
    target: Target
    slurm: Slurm
    script: str
    found: Receipt | submissions.Free


def hand_over(runs: Sequence[Handed], *, observer: Observer) -> tuple[Receipt, ...]:
    """Gives Slurm those runs that it has not, as one array, and returns the receipts of all.

    Args:
      runs: of one sweep.
      observer: is told what happens.

    Raises:
      SmtrainError: the login node cannot be reached, the runs ask for different things, or Slurm refuses.
    """
    points = [_point(run, observer) for run in runs]
    new = [point for point in points if isinstance(point.found, submissions.Free)]
    jobs = iter(_submitted(new, observer) if new else ())
    return tuple(_receipt(point, jobs) for point in points)


def _point(run: Handed, observer: Observer) -> _Point:
    target = submitted.parsed(run.document)
    slurm = Slurm(_login(target), target, run.run_dir / "bundle", observer)
    return _Point(
        receipt=run.receipt,
        target=target,
        slurm=slurm,
        script=(run.run_dir / "bundle" / "job.sbatch").read_text(encoding="utf-8"),
        found=submissions.look_up(run.receipt, slurm, observer=observer, longest_name=LONGEST_NAME),
    )


def _login(target: Target) -> LoginNode:
    return login_node(target.login, key="backend.login")


def _submitted(points: Sequence[_Point], observer: Observer) -> list[str]:
    """Returns the job's id of each point, all of them tasks of one new array."""
    first, name = points[0], _name(points)
    if {(point.target.login, point.target.store) for point in points} != {(first.target.login, first.target.store)}:
        what = "The runs of the sweep go to different clusters."
        raise fail(what, "Leave backend.array out: each is then a job of its own.", key="backend.array")
    folder = str(PurePosixPath(first.target.store).parent / "arrays" / name)
    script = array_script.render(
        [point.script for point in points], name=name, folder=folder, limit=first.target.array_limit
    )
    login = _login(first.target)
    refuse_what_cannot_be(login, first.target)
    for point in points:
        point.slurm.copy()
    listed = "".join(f"{point.target.run} {_free(point).name}\n" for point in points)
    with tempfile.TemporaryDirectory() as here:
        (Path(here) / "job.sbatch").write_text(script, encoding="utf-8")
        (Path(here) / "runs").write_text(listed, encoding="utf-8")
        login.copy(Path(here), to=f"{folder}/bundle", store=first.target.store, observer=observer)
    job = first.slurm.submit(name, folder)
    recorded = login.run(("bash", "-c", _RECORD, "record", job), stdin=listed.encode())
    if recorded.code:
        what = f"The array is job {job} of {login.name}, and its runs could not be told so: {recorded.stderr.strip()}"
        raise fail(what, "Submit again: the array is found.", code=ExitCode.REMOTE_REFUSED)
    observer.line(f"{name} (job {job}): submitted, {len(points)} runs")
    return [f"{job}_{task}" for task in range(len(points))]


def _name(points: Sequence[_Point]) -> str:
    """Returns the array's name: the same runs are the same array, whoever asks, and whenever."""
    names = [_free(point).name for point in points]
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:8]
    # The first and the last by the alphabet share what all share.
    pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(min(names), max(names), strict=False))
    common = "".join(letter for letter, _ in pairs).rstrip("-") or "sweep"
    return f"{common[: LONGEST_NAME // 2]}-array-{digest}"


def _free(point: _Point) -> submissions.Free:
    assert isinstance(point.found, submissions.Free)
    return point.found


def _receipt(point: _Point, jobs: Iterator[str]) -> Receipt:
    if isinstance(point.found, Receipt):
        return replace(point.found, hosts=point.target.nodes)
    known = submissions.Known(job=next(jobs), state=State.RUNNING)
    return replace(submissions.begun(point.receipt, known, point.found.tries), hosts=point.target.nodes)
