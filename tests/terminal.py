"""A program on a terminal of its own, as a person sees it."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_ESCAPES = re.compile(r"\x1b(\[[0-9;?>=]*[A-Za-z]|\][^\x07]*\x07|[=>()][0-9A-B]?)")


class Terminal:
    """The other end of a program's terminal."""

    def __init__(self, handle: int, process: subprocess.Popen[bytes]) -> None:
        self._handle = handle
        self._process = process
        self.raw = ""

    @property
    def text(self) -> str:
        """What was shown so far, without colours and movements of the cursor."""
        return _ESCAPES.sub("", self.raw).replace("\r", "")

    def type(self, text: str) -> None:
        os.write(self._handle, text.encode())

    def read_until(self, *expected: str, timeout_s: float = 60) -> None:
        """Reads until all of these were shown."""
        deadline = time.monotonic() + timeout_s
        while not all(part in self.text for part in expected):
            assert time.monotonic() < deadline, f"expected {expected} in:\n{self.text}"
            assert self._read(0.2), f"the program ended; expected {expected} in:\n{self.text}"

    def wait(self, timeout_s: float = 60) -> int:
        """Reads to the end and returns the exit code."""
        deadline = time.monotonic() + timeout_s
        while self._read(0.2):
            assert time.monotonic() < deadline, self.text
        return self._process.wait(timeout_s)

    def _read(self, wait_s: float) -> bool:
        if not select.select([self._handle], [], [], wait_s)[0]:
            return True
        try:
            piece = os.read(self._handle, 1 << 16)
        except OSError:  # how Linux says that nobody holds the other end any more
            return False
        self.raw += piece.decode(errors="replace")
        return bool(piece)


@contextlib.contextmanager
def on_terminal(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> Iterator[Terminal]:
    """Runs a program on a terminal of 24 lines and 100 columns; it is killed at the end if it still goes."""
    handle, other = pty.openpty()
    termios.tcsetwinsize(other, (24, 100))
    process = subprocess.Popen(
        argv, cwd=cwd, env=dict(env), stdin=other, stdout=other, stderr=other, start_new_session=True
    )
    os.close(other)
    try:
        yield Terminal(handle, process)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(handle)
