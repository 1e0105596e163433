"""Writes what it reads to a log that people can read: `python log_lines.py LOG`, with the workload's output as input.

A process of its own, so that the workload's output has a reader even when smtrain is gone.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

SHOW_BAR_EVERY_S = 30.0
_LONGEST = 1 << 16
# Control sequences of ECMA-48, and operating system commands such as window titles.
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_]")


class Lines:
    """Turns a terminal's bytes into lines: a progress bar that redraws itself becomes its last state.

    A bar at work is shown every `SHOW_BAR_EVERY_S` seconds, so that a log tells that something is going on.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts with nothing read.

        Args:
          clock: returns seconds.
        """
        self._clock = clock
        self._rest = b""
        self._shown = clock()

    def feed(self, piece: bytes) -> Iterator[str]:
        """Yields the lines that this piece completes."""
        *whole, self._rest = (self._rest + piece).split(b"\n")
        for line in whole:
            yield _last_state(line)
        if len(self._rest) > _LONGEST and b"\r" not in self._rest:
            yield _last_state(self._rest)
            self._rest = b""
        elif b"\r" in self._rest.rstrip(b"\r"):
            yield from self._bar()

    def close(self) -> Iterator[str]:
        """Yields what is left at the end."""
        if self._rest:
            yield _last_state(self._rest)
        self._rest = b""

    def _bar(self) -> Iterator[str]:
        body = self._rest.rstrip(b"\r")
        before, _, last = body.rpartition(b"\r")
        # Kept behind a return, so that what follows still counts as redrawing.
        self._rest = b"\r" + last + self._rest[len(body) :]
        if self._clock() - self._shown >= SHOW_BAR_EVERY_S and before:
            self._shown = self._clock()
            yield _last_state(before)


def _last_state(line: bytes) -> str:
    text = _CONTROL.sub("", line.decode("utf-8", errors="replace"))
    states = [state for state in text.split("\r") if state.strip()]
    return states[-1].rstrip() if states else ""


def main(log: Path) -> None:
    """Copies standard input to the log, line by line, to the end."""
    # Whoever interrupts the run still wants its last words.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    lines = Lines()
    with log.open("a", encoding="utf-8") as file:
        while piece := os.read(0, 1 << 16):
            file.writelines(f"{line}\n" for line in lines.feed(piece))
            file.flush()
        file.writelines(f"{line}\n" for line in lines.close())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
