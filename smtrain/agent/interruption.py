"""What happens when a signal comes, or another node fails: at once, later, or through the workload."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from smtrain.agent.ending import Failure, Stopped, say

_OF_PEERS = signal.SIGUSR1


class Interruption:
    """Ends what the main thread is doing, in the way that its phase allows.

    In `interruptible` phases (staging, installing) the main thread gets `Stopped`; while the workload runs, `passed_on`
    is told instead; in any other phase (uploading what was trained) the end waits.
    """

    def __init__(self, *, node: int, host: str) -> None:
        """Nothing is pending.

        Args:
          node: rank of this node.
          host: its name.
        """
        self._node = node
        self._host = host
        self._raises = False
        self._pass_on: Callable[[], None] | None = None
        self.failure: Failure | None = None

    def listen(self) -> None:
        """Takes the signals over; to be called in the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        signal.signal(_OF_PEERS, self._on_signal)

    def end(self, failure: Failure) -> None:
        """Ends the run because of a failure elsewhere; may be called in any thread."""
        if self.failure is None:
            self.failure = failure
        if threading.current_thread() is threading.main_thread():
            self._act()
        else:
            # Only a signal wakes the main thread from a system call.
            os.kill(os.getpid(), _OF_PEERS)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Within this, the main thread gets `Stopped`."""
        self._raises = True
        try:
            self._act()
            yield
        finally:
            self._raises = False

    @contextmanager
    def passed_on(self, pass_on: Callable[[], None]) -> Iterator[None]:
        """Within this, the end is passed on to the workload."""
        self._pass_on = pass_on
        try:
            self._act()
            yield
        finally:
            self._pass_on = None

    def _act(self) -> None:
        if self.failure is None:
            return
        if self._pass_on is not None:
            self._pass_on()
        elif self._raises:
            self._raises = False
            raise Stopped(self.failure)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del frame
        if number != _OF_PEERS:
            name = signal.Signals(number).name
            say(f"received {name}")
            if self.failure is None:
                self.failure = Failure(code=128 + number, reason=f"stopped by {name}", node=self._node, host=self._host)
        self._act()
