"""Runs the programs that the agent uses, and leaves none of them behind."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """What a program did.

    Attributes:
      code: its exit code.
      output: its standard output.
      errors: its standard error.
    """

    code: int
    output: str
    errors: str


def run(
    argv: Sequence[str], *, text: str = "", env: Mapping[str, str] | None = None, timeout_s: float | None = None
) -> Completed:
    """Runs a program to its end.

    Args:
      argv: its words.
      text: its standard input.
      env: added to its environment.
      timeout_s: seconds after which it is killed.

    Raises:
      OSError: it cannot be started.
      subprocess.TimeoutExpired: it took too long.
      Ending: the agent ended meanwhile.
    """
    with subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="surrogateescape",
        env={**os.environ, **(env or {})},
        # A group of its own: the program may be a wrapper around the one that does the work, and both must end.
        start_new_session=True,
    ) as process:
        _running.add(process.pid)
        try:
            _go_on()
            output, errors = process.communicate(text, timeout=timeout_s)
        except BaseException:
            kill_group(process.pid)
            process.wait()
            raise
        finally:
            _running.discard(process.pid)
    _go_on()
    return Completed(code=process.returncode, output=output, errors=errors)


class Ending(BaseException):
    """The agent ends, and nothing is to be tried again."""


def kill_all() -> None:
    """Kills what other threads are running, and what they would start, when the agent ends before them."""
    _ending.set()
    for group in tuple(_running):
        kill_group(group)


def _go_on() -> None:
    if _ending.is_set():
        raise Ending


_running: set[int] = set()
_ending = threading.Event()


def kill_group(group: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Sends a signal to a process group that may be gone."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return
