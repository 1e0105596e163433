"""The processes of a run: found by a mark in their environment, signalled without ever hitting a reused process id.

torchrun starts its workers in sessions of their own and closes inherited files, so neither a process group nor an open
file tells which processes belong to a run. Their environment does, and so does descent.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MARK = "SMTRAIN_PROCESS_OF"
"""Environment variable of every process of a run: the run's folder, resolved."""

_PROC = Path("/proc")
_POLL_S = 0.05
_KILLS = 10


@dataclass(frozen=True, slots=True)
class Process:
    """A process, told apart from a later one with the same id.

    Attributes:
      pid: its id.
      started: when it started, in clock ticks since the machine did (field 22 of proc(5) stat).
    """

    pid: int
    started: int


def process(pid: int) -> Process | None:
    """Returns the process of this id; None when there is none, or only what is left for its parent to collect."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in {"Z", "X"} else Process(pid, int(fields[19]))


def is_alive(known: Process) -> bool:
    """Returns whether this very process is still there."""
    return process(known.pid) == known


def send(known: Process, number: signal.Signals) -> None:
    """Signals a process; nothing happens when it is gone, even if another now has its id."""
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(known.pid)
        try:
            if is_alive(known):
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)


def members(run_dir: Path) -> tuple[Process, ...]:
    """Returns the processes of the run in this folder, except the one that asks."""
    mark = os.fsencode(f"{MARK}={run_dir.resolve()}")
    parents: dict[Process, int] = {}
    marked: set[int] = set()
    for pid in (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()):
        fields = _stat(pid)
        if fields is None or fields[0] in {"Z", "X"}:
            continue
        parents[Process(pid, int(fields[19]))] = int(fields[1])
        if mark in _environment(pid):
            marked.add(pid)
    marked.discard(os.getpid())
    size = -1
    while len(marked) > size:
        size = len(marked)
        marked.update(each.pid for each, parent in parents.items() if parent in marked)
    marked.discard(os.getpid())
    return tuple(each for each in parents if each.pid in marked)


def end(run_dir: Path, *, grace_s: float) -> bool:
    """Ends every process of the run: asks, waits, kills.

    Args:
      run_dir: the run's folder.
      grace_s: seconds between asking and killing; 0 kills at once.

    Returns:
      Whether there was any.
    """
    found = members(run_dir)
    if grace_s > 0:
        _send_all(found, signal.SIGTERM)
        _wait(found, grace_s)
    # Several times: one may have been starting another while it was counted.
    for _ in range(_KILLS):
        rest = members(run_dir)
        if not rest:
            break
        _send_all(rest, signal.SIGKILL)
        _wait(rest, 1.0)
    return bool(found)


def _send_all(processes: Iterable[Process], number: signal.Signals) -> None:
    for each in processes:
        send(each, number)


def _wait(processes: Iterable[Process], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while any(map(is_alive, processes)) and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def _stat(pid: int) -> list[str] | None:
    """Returns the fields of proc(5) stat from the third, the state, on; the second may hold spaces and parentheses."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _environment(pid: int) -> list[bytes]:
    try:
        return (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return []
