"""A real Slurm for tests: the cluster of `examples/slurm-on-one-machine`, started once a session."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "examples" / "slurm-on-one-machine" / "slurm.py"
_CANNOT_BE_HERE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmMachine:
    """A cluster that is up.

    Attributes:
      folder: where its files are; every node sees it, as it sees all of this machine's file system.
      nodes: its nodes' names; each claims 96 CPUs, 1 TiB and 8 GPUs `a100`.
    """

    folder: Path
    nodes: tuple[str, ...]

    @property
    def conf(self) -> Path:
        """What SLURM_CONF must name for Slurm's commands to find it."""
        return self.folder / "etc" / "slurm.conf"

    def environment(self) -> dict[str, str]:
        """Returns this process's environment, with Slurm's commands directed to the cluster."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
        return {**own, "SLURM_CONF": str(self.conf)}

    def attempt(self, *argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Runs one of Slurm's commands, and returns what came of it."""
        env = self.environment()
        return subprocess.run(argv, env=env, input=stdin, capture_output=True, text=True, timeout=120, check=False)

    def ask(self, *argv: str, stdin: str = "") -> str:
        """Returns what one of Slurm's commands prints."""
        done = self.attempt(*argv, stdin=stdin)
        assert done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout.strip()

    def submit(self, script: str, *options: str) -> str:
        """Submits a script, whose output `output` returns, and returns the job's id."""
        output = f"--output={self.folder}/log/job-%j.txt"
        argv = ("sbatch", "--parsable", output, "--open-mode=append", *options)
        return self.ask(*argv, stdin=f"#!/bin/bash\n{script}\n")

    def output(self, job: str) -> str:
        """Returns what a job of `submit` has printed."""
        path = self.folder / "log" / f"job-{job}.txt"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def field(self, job: str, name: str) -> str:
        """Returns a field of `scontrol show job`, e.g. "JobState"."""
        words = self.ask("scontrol", "--oneliner", "show", "job", job).split()
        return next(word.partition("=")[2] for word in words if word.startswith(f"{name}="))

    def jobs(self) -> set[str]:
        """Returns the ids of the jobs that are waiting, running, or still ending."""
        return set(self.ask("squeue", "--noheader", "--format=%A").split())

    def until(self, job: str, *states: str, timeout_s: float = 120) -> str:
        """Waits until a job is in one of these states, and returns it."""
        deadline = time.monotonic() + timeout_s
        while (state := self.field(job, "JobState")) not in states:
            assert time.monotonic() < deadline, f"job {job} is {state}, not {states}:\n{self.output(job)}"
            time.sleep(0.1)
        return state

    def until_printed(self, job: str, text: str, timeout_s: float = 120) -> None:
        """Waits until a job of `submit` has printed this."""
        deadline = time.monotonic() + timeout_s
        while text not in self.output(job):
            assert time.monotonic() < deadline, f"{self.ask('scontrol', 'show', 'job', job)}\n{self.output(job)}"
            time.sleep(0.1)

    def unplug(self, node: str) -> None:
        """Kills a node with all its processes, and tells the controller, which would need half a minute to notice."""
        _call("unplug", "--told", "--folder", str(self.folder), node)

    def plug_in(self) -> None:
        """Starts whatever nodes are off, and waits for them."""
        _call("start", "--folder", str(self.folder))


@pytest.fixture(scope="session")
def slurm_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmMachine]:
    """A cluster of three nodes, of the session's own, so that a job on two survives the loss of one.

    It has no database, as many clusters have none: sacct knows nothing.
    """
    with started(tmp_path_factory.mktemp("slurm"), nodes=3) as machine:
        yield machine


@pytest.fixture(scope="session")
def accounting_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmMachine]:
    """A cluster of two nodes with a database, as HyperPod's have one: sacct knows every job."""
    with started(tmp_path_factory.mktemp("accounting"), "--accounting", nodes=2) as machine:
        yield machine


@contextmanager
def started(folder: Path, *options: str, nodes: int) -> Iterator[SlurmMachine]:
    """Runs a cluster, or leaves the test out, saying so, where there can be none."""
    done = call("start", "--folder", str(folder), "--nodes", str(nodes), "--gpus", "8", *options)
    if done.returncode == _CANNOT_BE_HERE:
        pytest.skip(f"no Slurm can be started here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    try:
        yield SlurmMachine(folder=folder, nodes=tuple(f"node-{number}" for number in range(1, nodes + 1)))
    finally:
        _call("stop", "--folder", str(folder))


def call(*words: str) -> subprocess.CompletedProcess[str]:
    """Runs the program of the example."""
    return subprocess.run((sys.executable, PROGRAM, *words), capture_output=True, text=True, timeout=180, check=False)


def _call(*words: str) -> None:
    done = call(*words)
    assert done.returncode == 0, done.stderr
