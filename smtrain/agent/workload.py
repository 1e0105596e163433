"""The command itself: started, listened to, signalled, and not left behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from smtrain.agent.commands import kill_group

KEPT_LINES = 400
"""Lines of output that are kept to tell the reason of a failure from."""
_LONGEST_LINE = 4000
_EXTRA_S = 5.0
"""Beyond its grace: the launch script itself ends its step when the grace is over, and reports it."""
_READERS_S = 2.0
_SWEEPS = 20
"""A process may be forking while it is looked for."""
_SWEEP_S = 0.05
_STEP = re.compile(r"smtrain: step ([a-z0-9-]+)$")


class LastLines:
    """Keeps the last lines of an output; a progress bar that redraws itself is its last state."""

    def __init__(self) -> None:
        """Nothing is kept yet."""
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._rests: dict[int, bytes] = {}
        self._lock = threading.Lock()
        self.step = ""

    def feed(self, source: int, piece: bytes) -> None:
        """Takes a piece of one of several interleaved streams."""
        with self._lock:
            *whole, rest = (self._rests.get(source, b"") + piece).split(b"\n")
            for line in whole:
                self._keep(line)
            # Of a bar that draws itself without end, the last state is enough; of a line without end, its beginning.
            self._rests[source] = rest.rpartition(b"\r")[2] if rest[-1:] != b"\r" else rest[-_LONGEST_LINE:]
            self._rests[source] = self._rests[source][:_LONGEST_LINE]

    def lines(self) -> tuple[str, ...]:
        """Returns the lines, oldest first, with what has no line end yet."""
        with self._lock:
            rests = tuple(map(_text, self._rests.values()))
            return (*self._lines, *(rest for rest in rests if rest))

    def _keep(self, line: bytes) -> None:
        text = _text(line)
        if text:
            self._lines.append(text)
        if found := _STEP.match(text):
            self.step = found[1]


def _text(line: bytes) -> str:
    states = [state for state in line.split(b"\r") if state.strip()]
    return states[-1][:_LONGEST_LINE].decode("utf-8", errors="replace").rstrip() if states else ""


class Workload:
    """One run of the command."""

    def __init__(
        self, command: Sequence[str], variables: Mapping[str, str], *, grace_s: int, cwd: Path | None = None
    ) -> None:
        """Starts nothing yet.

        Args:
          command: its words.
          variables: added to its environment.
          grace_s: seconds that it has between a signal and its end.
          cwd: its folder; None is the agent's.
        """
        self._command = tuple(command)
        self._variables = variables
        self._grace_s = grace_s
        self._cwd = cwd
        self._child: subprocess.Popen[bytes] | None = None
        self._deadline = 0.0
        self.output = LastLines()

    def run(self) -> int:
        """Runs the command to its end; returns its exit code, 128 + n for a signal n.

        Raises:
          OSError: it cannot be started.
        """
        child = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **self._variables},
            cwd=self._cwd,
            start_new_session=True,
        )
        self._child = child
        readers = [self._reader(child.stdout, 1), self._reader(child.stderr, 2)]
        if self._deadline:
            self._signal()
        try:
            code = self._wait(child)
        finally:
            kill_session(child.pid)
        for reader in readers:
            # What it started in a session of its own may hold the pipes open for ever; they are not closed here, since
            # the readers might then read from whatever is opened next under the same number.
            reader.join(_READERS_S)
        return code if code >= 0 else 128 - code

    def terminate(self) -> None:
        """Asks the command to end, once; it is killed when its grace is over."""
        if self._deadline:
            return
        self._deadline = time.monotonic() + self._grace_s + _EXTRA_S
        self._signal()

    def _signal(self) -> None:
        if self._child is not None:
            kill_group(self._child.pid, signal.SIGTERM)

    def _wait(self, child: subprocess.Popen[bytes]) -> int:
        while True:
            try:
                return child.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                if self._deadline and time.monotonic() > self._deadline:
                    kill_session(child.pid)

    def _reader(self, pipe: IO[bytes] | None, target: int) -> threading.Thread:
        assert pipe is not None
        reader = threading.Thread(target=self._copy, args=(pipe.fileno(), target), daemon=True)
        reader.start()
        return reader

    def _copy(self, source: int, target: int) -> None:
        while True:
            try:
                piece = os.read(source, 1 << 16)
            except OSError:
                return
            if not piece:
                return
            self.output.feed(target, piece)
            _write(target, piece)


def _write(target: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        try:
            view = view[os.write(target, view) :]
        except OSError:
            return  # nobody reads the log any more; the workload must not notice


def kill_session(session: int) -> None:
    """Kills every process of a session: job control gives each step a process group of its own inside it."""
    for _ in range(_SWEEPS):
        members = tuple(_members(session))
        if not members:
            return
        for member in members:
            with contextlib.suppress(OSError):
                os.kill(member, signal.SIGKILL)
        time.sleep(_SWEEP_S)


def _members(session: int) -> Iterator[int]:
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            # Behind the command's name, which stands in parentheses: state, parent, group, session (proc(5)).
            fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] not in {"Z", "X"}:
                yield int(entry.name)
        except (OSError, IndexError, ValueError):
            continue
