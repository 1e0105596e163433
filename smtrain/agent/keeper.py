"""Looks after results while the program runs, so that what it has done by then is kept if the machine is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Protocol

from smtrain.agent.ending import say

SOON_S = 2.1
"""Seconds until the next look when something is about to be ready."""


class Upkeep(Protocol):
    """Something to be looked after regularly."""

    def look(self, *, last: bool) -> bool:
        """Does what there is to do; `last` says that nothing writes any more. Returns whether to look again soon."""
        ...


class Keeper:
    """Looks after things in a thread of its own, every so often, until it is stopped."""

    def __init__(self, upkeep: Iterable[Upkeep], interval_s: float) -> None:
        """Starts nothing yet.

        Args:
          upkeep: what to look after.
          interval_s: seconds between two looks.
        """
        self._upkeep = tuple(upkeep)
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Starts looking."""
        self._thread.start()

    def stop(self) -> None:
        """Stops looking, when what is being done is done."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def last(self) -> None:
        """Looks for the last time, when nothing writes any more."""
        for one in self._upkeep:
            self._look(one, last=True)

    def _run(self) -> None:
        pause = self._interval_s
        while not self._stop.wait(pause):
            soon = [self._look(one, last=False) for one in self._upkeep]
            pause = min(self._interval_s, SOON_S) if any(soon) else self._interval_s

    @staticmethod
    def _look(one: Upkeep, *, last: bool) -> bool:
        try:
            return one.look(last=last)
        except Exception as error:  # noqa: BLE001 - a failed upload must not end hours of training
            say(f"looking after the results failed, and is tried again: {type(error).__name__}: {error}")
            return False
