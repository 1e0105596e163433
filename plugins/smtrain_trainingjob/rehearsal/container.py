"""The running entrypoint of one host: its lines, its end, and signals to it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from smtrain_trainingjob.rehearsal.hosts import Host
from smtrain_trainingjob.rehearsal.isolation import Command, Isolation

LONGEST_LINE = 16384
"""Bytes of one log event; Docker's log driver cuts there too."""

_READ_REST_S = 10


@dataclass(slots=True, kw_only=True)
class Container:
    """One host's process.

    Attributes:
      host: the host.
      isolation: how it is kept apart.
      on_line: called with each line of its output, from a thread of its own.
      on_end: called once with its exit code, after its last line.
    """

    host: Host
    isolation: Isolation
    on_line: Callable[[Host, str], None]
    on_end: Callable[[Host, int], None]
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self, command: Command) -> None:
        """Starts it."""
        self._process = subprocess.Popen(
            command.argv,
            env=dict(command.environment),
            cwd=self.host.work,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        reader.start()
        threading.Thread(target=self._wait, args=(self._process, reader), daemon=True).start()

    def terminate(self) -> None:
        """Asks the entrypoint to end."""
        if self._process is not None:
            self.isolation.send(self.host, self._process, signal.SIGTERM)

    def kill(self) -> None:
        """Ends everything of the host at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self.isolation.clear(self.host)

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as stream:
            while line := stream.readline(LONGEST_LINE):
                self.on_line(self.host, line.decode("utf-8", "replace").removesuffix("\n"))

    def _wait(self, process: subprocess.Popen[bytes], reader: threading.Thread) -> None:
        code = process.wait()
        # What the entrypoint left behind ends with it, as in a container; then its output ends too.
        self.isolation.clear(self.host)
        reader.join(_READ_REST_S)
        self.on_end(self.host, code if code >= 0 else 128 - code)
