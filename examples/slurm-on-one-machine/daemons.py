"""Processes that go on when their starter is gone, known by id and start time, and ended by nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_POLL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """A process.

    Attributes:
      name: what for, e.g. "slurmctld".
      pid: its id.
      started: when it started, in clock ticks since the machine did; tells it from a later one with the same id.
    """

    name: str
    pid: int
    started: int

    @property
    def is_alive(self) -> bool:
        """Whether this very process is still there."""
        return _started(self.pid) == self.started

    def send(self, number: signal.Signals) -> None:
        """Signals it, if it is there."""
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(self.pid)
            try:
                if self.is_alive:
                    signal.pidfd_send_signal(handle, number)
            finally:
                os.close(handle)

    def end(self, number: signal.Signals, grace_s: float = 10.0) -> None:
        """Signals it, waits for its end, and kills it after `grace_s` seconds."""
        self.send(number)
        deadline = time.monotonic() + grace_s
        while self.is_alive:
            if time.monotonic() > deadline:
                self.send(signal.SIGKILL)
            time.sleep(_POLL_S)


def start(name: str, argv: Sequence[str], *, log: Path) -> Daemon:
    """Starts a process in a session of its own.

    Args:
      name: what for.
      argv: its words.
      log: file that gets what it prints.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            ("env", *argv),
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            start_new_session=True,
        )
    return Daemon(name=name, pid=process.pid, started=_started(process.pid) or 0)


def environment() -> dict[str, str]:
    """Returns this process's environment; the folders of system programs, which not every PATH has, are on its PATH."""
    return {**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"}


def read(path: Path) -> dict[str, Daemon]:
    """Returns name → daemon of those that were written down and are alive."""
    if not path.exists():
        return {}
    known = (Daemon(**fields) for fields in json.loads(path.read_text(encoding="utf-8")))
    return {daemon.name: daemon for daemon in known if daemon.is_alive}


def write(path: Path, known: dict[str, Daemon]) -> None:
    """Writes them down, all or nothing."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(json.dumps([asdict(daemon) for daemon in known.values()], indent=2) + "\n", encoding="utf-8")
    new.replace(path)


def _started(pid: int) -> int | None:
    """Returns field 22 of proc(5) stat; None when the process is gone, or only what its parent has to collect."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in {"Z", "X"} else int(fields[19])
