"""The output of a job: one file of the job's own script, and one a node, on the shared file system."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from smtrain.plugin import LogLine, Receipt, State
from smtrain_hyperpod.slurm.following import status, submitted
from smtrain_hyperpod.transport.login_node import LoginNode
from smtrain_hyperpod.transport.reached import login_node

POLL_S = (0.5, 3.0)
"""Seconds between two looks: while lines come, and after a while without any."""


def lines(run_dir: Path, receipt: Receipt, *, follow: bool, poll_s: tuple[float, float] = POLL_S) -> Iterator[LogLine]:
    """Yields the lines of a job, those of several nodes with the node's number.

    Args:
      run_dir: the run's folder.
      receipt: its receipt.
      follow: go on until the job ends.
      poll_s: seconds between two looks, at first and at most.

    Raises:
      SmtrainError: the login node, or Slurm, cannot be reached.
    """
    target = submitted.read(run_dir, receipt)
    files = growing(login_node(target.login, key="backend.login"), target.run, receipt.job, target.nodes)
    pause = poll_s[0]
    while follow and receipt.state is State.RUNNING:
        found = list(files.poll())
        yield from found
        if not found:
            receipt = status.status(run_dir, receipt)
        pause = poll_s[0] if found else min(pause * 1.5, poll_s[1])
        if receipt.state is State.RUNNING:
            time.sleep(pause)
    while found := list(files.poll()):
        yield from found
    yield from files.rest()


def growing(login: LoginNode, run: str, job: str, nodes: int) -> Growing:
    """Returns the log files of a job: the script's own, and one a node."""
    return Growing(login, _hosts(run, job, nodes))


def _hosts(run: str, job: str, nodes: int) -> dict[str, str]:
    """Returns file → host; of a single node there is nothing to tell apart."""
    found = {}
    for each in job.split(","):
        found[f"{run}/logs/job-{each}.log"] = ""
        for rank in range(nodes):
            found[f"{run}/logs/job-{each}-node-{rank}.log"] = f"node-{rank}" if nodes > 1 else ""
    return found


@dataclass(slots=True)
class Growing:
    """Files that grow.

    Attributes:
      login: where they are.
      hosts: file → host.
    """

    login: LoginNode
    hosts: dict[str, str]
    _offsets: dict[str, int] = field(default_factory=dict)
    _rests: dict[str, bytes] = field(default_factory=dict)

    def poll(self) -> Iterator[LogLine]:
        """Yields the whole lines that are new."""
        offsets = {path: self._offsets.get(path, 0) for path in self.hosts}
        for path, content in self.login.read(offsets).items():
            self._offsets[path] = offsets[path] + len(content)
            *whole, self._rests[path] = (self._rests.get(path, b"") + content).split(b"\n")
            yield from (_line(line, self.hosts[path]) for line in whole)

    def rest(self) -> Iterator[LogLine]:
        """Yields what has no line end, when nothing writes any more."""
        for path, content in self._rests.items():
            if content:
                yield _line(content, self.hosts[path])


def _line(content: bytes, host: str) -> LogLine:
    # A progress bar redraws its line after each carriage return: the last drawing is what a terminal would show.
    drawn = [part for part in content.decode(errors="replace").split("\r") if part]
    return LogLine(text=drawn[-1] if drawn else "", host=host)
