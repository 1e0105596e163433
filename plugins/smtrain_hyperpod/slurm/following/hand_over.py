"""Giving a bundle's job to Slurm, once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from smtrain.plugin import ExitCode, Json, Observer, Receipt, State, fail, submissions
from smtrain_hyperpod.slurm.cluster_look import refuse_what_cannot_be
from smtrain_hyperpod.slurm.following import job_look, submitted
from smtrain_hyperpod.slurm.following.submitted import Target
from smtrain_hyperpod.slurm.submit_script import NO_SECRET, NO_SLURM
from smtrain_hyperpod.transport.login_node import LoginNode
from smtrain_hyperpod.transport.reached import login_node

LONGEST_NAME = 128
"""Characters of a job's name; Slurm itself sets no limit, and its database keeps what fits a text."""

_FIND = r"""
name=$1 run=$2 chain=$3
if [[ -s $run/jobs/$name ]]; then exec cat -- "$run/jobs/$name"; fi
[[ -z $chain ]] || exit 0
command -v squeue >/dev/null || exit 0
squeue --me --noheader --states=all --format=%i --name="$name"
"""


def hand_over(run_dir: Path, document: Json, receipt: Receipt, *, observer: Observer) -> Receipt:
    """Copies the bundle to the cluster, has submit.sh there give it to Slurm, and returns the receipt with the job.

    Args:
      run_dir: the run's folder.
      document: of the bundle: target.json.
      receipt: so far.
      observer: is told what happens.

    Raises:
      SmtrainError: the login node cannot be reached, or Slurm refuses.
    """
    target = submitted.parsed(document)
    slurm = Slurm(login_node(target.login, key="backend.login"), target, run_dir / "bundle", observer)
    made = submissions.submit_once(receipt, slurm, observer=observer, longest_name=LONGEST_NAME)
    return replace(made, hosts=target.nodes)


@dataclass(frozen=True, slots=True)
class Slurm:
    """Slurm, as what takes the job of a bundle.

    Attributes:
      login: the cluster's login node.
      target: what the bundle says of the job.
      bundle: its folder.
      observer: is told what happens.
    """

    login: LoginNode
    target: Target
    bundle: Path
    observer: Observer

    def find(self, name: str) -> submissions.Known | None:
        """Returns the job of this name."""
        # Of several jobs, submit.sh finds those that are there, and makes the others.
        chain = "chain" if self.target.later else ""
        done = self.login.run(("bash", "-c", _FIND, "find", name, self.target.run, chain))
        if done.code:
            what = f"Slurm on {self.login.name} does not tell whether it has the job: {done.stderr.strip()}"
            raise fail(what, "Ask its administrator, or try again later.", code=ExitCode.REMOTE_REFUSED)
        jobs = done.stdout.split()
        return self._known(jobs[-1]) if jobs else None

    def create(self, name: str) -> submissions.Known:
        """Makes a job of this name."""
        refuse_what_cannot_be(self.login, self.target)
        self.copy()
        return self._known(self.submit(name))

    def copy(self) -> None:
        """Brings the bundle to the cluster."""
        place = f"{self.target.run}/bundle"
        self.login.copy(self.bundle, to=place, store=self.target.store, observer=self.observer)

    def submit(self, *words: str) -> str:
        """Has submit.sh of the bundle, which is there, give a job to Slurm, and returns the job's id."""
        done = self.login.run(("bash", f"{self.target.run}/bundle/submit.sh", *words))
        if done.code:
            said = (done.stderr or done.stdout).strip().removeprefix("smtrain: ")
            what = f"The job was not taken on {self.login.name}: {said}"
            raise fail(what, _way_out(done.code, said), code=ExitCode.REMOTE_REFUSED)
        return done.stdout.split()[-1]

    def _known(self, job: str) -> submissions.Known:
        seen = job_look.look(self.login, job, self.target.run)
        # Slurm that has forgotten a job, and a job that wrote nothing down: it is over, one way or another.
        return submissions.Known(job=job, state=seen.state if seen.known else State.LOST)


def _way_out(code: int, said: str) -> str:
    if code == NO_SLURM:
        return "Name the login node: backend.login."
    if code == NO_SECRET:
        return "Export it there, or name a file with it: backend.env_file."
    if "Invalid job array specification" in said:
        return "The sweep may have more runs than the cluster's MaxArraySize (scontrol show config): split it."
    return "Correct the setting of `backend` that it names; what was asked for stands in job.sbatch of the bundle."
