"""The hosts of a job while they run: how they end, and who is told to."""

from __future__ import annotations

import enum
import math
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from smtrain_trainingjob.rehearsal.container import Container
from smtrain_trainingjob.rehearsal.hosts import Host
from smtrain_trainingjob.rehearsal.isolation import Command, Isolation

_WAITING_LINES = 1000
"""Lines that hosts may be ahead of the observer before they wait for it."""


class Cause(enum.Enum):
    """Why the hosts ended."""

    DONE = enum.auto()
    HOST_FAILED = enum.auto()
    ASKED = enum.auto()
    MAX_RUNTIME = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How the hosts ended.

    Attributes:
      cause: why.
      codes: exit code by host, in the order in which they ended.
      failed: the host that failed first, "" when none did before the end was asked for.
    """

    cause: Cause
    codes: Mapping[str, int] = field(default_factory=dict)
    failed: str = ""


@dataclass(frozen=True, slots=True)
class _Line:
    host: str
    text: str


@dataclass(frozen=True, slots=True)
class _End:
    host: str
    code: int


@dataclass(slots=True, kw_only=True)
class Training:
    """The running hosts of one job.

    Attributes:
      isolation: how they are kept apart.
      grace_s: seconds between asking and killing.
      on_line: called with host and text, from the thread that called `run`.
      on_stopping: called when the job is ended before its time.
    """

    isolation: Isolation
    grace_s: float
    on_line: Callable[[str, str], None]
    on_stopping: Callable[[], None]
    _events: queue.Queue[_Line | _End | None] = field(default_factory=lambda: queue.Queue(_WAITING_LINES), init=False)
    _stop: threading.Event = field(default_factory=threading.Event, init=False)

    @property
    def stop_asked(self) -> bool:
        """Whether `stop` was called."""
        return self._stop.is_set()

    def stop(self, *, grace_s: float | None = None) -> None:
        """Asks the hosts to end, or keeps them from starting; from any thread.

        Args:
          grace_s: another time than `grace_s` between asking and killing, also when they were asked before.
        """
        if grace_s is not None:
            self.grace_s = grace_s
        self._stop.set()
        try:
            self._events.put_nowait(None)
        except queue.Full:
            return  # what fills it wakes the loop as well

    def run(self, commands: Iterable[tuple[Host, Command]], *, deadline: float) -> Ending:
        """Starts every host and waits until all have ended.

        Args:
          commands: the hosts and what each of them runs.
          deadline: when the time is up, in `time.monotonic` seconds.
        """
        running: dict[str, Container] = {}
        try:
            for host, command in commands:
                container = Container(host=host, isolation=self.isolation, on_line=self._line, on_end=self._end)
                container.start(command)
                running[host.name] = container
            return self._watch(running, deadline)
        finally:
            for container in running.values():
                container.kill()
            while running:  # only when an observer raised: threads wait to hand over what they read
                if isinstance(event := self._events.get(), _End):
                    del running[event.host]

    def _watch(self, running: dict[str, Container], deadline: float) -> Ending:
        codes: dict[str, int] = {}
        cause, failed = Cause.DONE, ""
        while running and cause is Cause.DONE:
            event = self._take(self._next(deadline), running, codes)
            if isinstance(event, _End) and event.code != 0:
                cause, failed = Cause.HOST_FAILED, event.host
            elif self._stop.is_set():
                cause = Cause.ASKED
            elif time.monotonic() >= deadline:
                cause = Cause.MAX_RUNTIME
        if cause in {Cause.ASKED, Cause.MAX_RUNTIME}:
            self.on_stopping()
        self._end_all(running, codes)
        return Ending(cause=cause, codes=codes, failed=failed)

    def _end_all(self, running: dict[str, Container], codes: dict[str, int]) -> None:
        for container in running.values():
            container.terminate()
        asked, killed = time.monotonic(), False
        while running:
            deadline = math.inf if killed else asked + self.grace_s
            self._take(self._next(deadline), running, codes)
            if not killed and time.monotonic() >= asked + self.grace_s:
                killed = True
                for container in running.values():
                    container.kill()

    def _next(self, deadline: float) -> _Line | _End | None:
        timeout = None if deadline == math.inf else max(0.0, deadline - time.monotonic())
        try:
            return self._events.get(timeout=timeout)
        except queue.Empty:
            return None

    def _take(
        self, event: _Line | _End | None, running: dict[str, Container], codes: dict[str, int]
    ) -> _Line | _End | None:
        if isinstance(event, _Line):
            self.on_line(event.host, event.text)
        elif isinstance(event, _End):
            codes[event.host] = event.code
            del running[event.host]
        return event

    def _line(self, host: Host, text: str) -> None:
        self._events.put(_Line(host.name, text))

    def _end(self, host: Host, code: int) -> None:
        self._events.put(_End(host.name, code))
