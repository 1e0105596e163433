"""Keeping the trackers fed without making the training wait for them."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from smtrain_native.runtime import settings
from smtrain_native.runtime.ending import UserError
from smtrain_native.runtime.trackers import OPENERS, Start, Tracker

WAITING_ROWS = 1000
"""Rows that wait for a slow tracker; further ones are lost."""

CLOSE_S = 60.0
"""Seconds that trackers together have at the end to take what is left."""

_IDS = "trackers.json"


class TrackerError(UserError):
    """Trackers that were asked for cannot be opened; one line each says which, why, and what to do."""


@dataclass(frozen=True, slots=True)
class _Row:
    step: int
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class _End:
    failed: bool


class Feed:
    """Hands rows to one tracker from a thread of its own: a server that hangs costs rows, not GPU hours."""

    def __init__(
        self, name: str, tracker: Tracker, warn: Callable[[str], None], *, waiting: int = WAITING_ROWS
    ) -> None:
        """Starts the thread.

        Args:
          name: of the tracker.
          tracker: that is fed.
          warn: is told of the first failure, and at the end of how many rows were lost.
          waiting: rows that may wait.
        """
        self._name = name
        self._tracker = tracker
        self._warn = warn
        self._rows: queue.Queue[_Row | _End] = queue.Queue(waiting)
        self._told = self._lost = 0
        self._thread = threading.Thread(target=self._run, name=f"tracker-{name}", daemon=True)
        self._thread.start()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the metrics of a step; returns at once."""
        self._told += 1
        try:
            self._rows.put_nowait(_Row(step, dict(values)))
        except queue.Full:
            self._lose(f"it does not keep up, {self._rows.maxsize} rows are waiting")

    def close(self, *, failed: bool, timeout_s: float) -> None:
        """Ends the run there, once everything was handed over; gives up after some seconds."""
        try:
            self._rows.put(_End(failed), timeout=timeout_s)
            self._thread.join(timeout_s)
        except queue.Full:
            pass
        if self._thread.is_alive():
            self._warn(f"tracker `{self._name}`: it did not end within {timeout_s:.0f} s and is left alone.")
        if self._lost:
            self._warn(f"tracker `{self._name}`: {self._lost} of {self._told} rows are missing; metrics.jsonl has all.")

    def _run(self) -> None:
        while True:
            item = self._rows.get()
            try:
                if isinstance(item, _End):
                    self._tracker.close(failed=item.failed)
                else:
                    self._tracker.log(item.step, item.values)
            except Exception as error:  # noqa: BLE001 - whatever a service raises must not end hours of training
                self._lose(f"{type(error).__name__}: {error}")
            if isinstance(item, _End):
                return

    def _lose(self, reason: str) -> None:
        self._lost += 1
        if self._lost == 1:
            self._warn(f"tracker `{self._name}`: {reason}. The training goes on.")


class Tracking:
    """All trackers of a run."""

    def __init__(
        self,
        reports: settings.Reports,
        start: Start,
        *,
        warn: Callable[[str], None],
        openers: Mapping[settings.Reporter, Callable[[Start], Tracker]] = OPENERS,
    ) -> None:
        """Opens them; a run that goes on is the same run there.

        Args:
          reports: which.
          start: what they are opened with.
          warn: is told of failures during the training.
          openers: how each is opened.

        Raises:
          TrackerError: one is not installed, or refuses.
        """
        path = start.folder / _IDS
        ids = _ids(path) if start.start_step else {}
        opened: dict[str, Tracker] = {}
        problems = []
        for name in dict.fromkeys(reports.to):
            try:
                opened[name] = openers[name](replace(start, run_id=ids.get(name)))
            except Exception as error:  # noqa: BLE001 - each service has its own exceptions; all are told
                problems.append(_problem(name, error))
        self._feeds = tuple(Feed(name, tracker, warn) for name, tracker in opened.items())
        if problems:
            self.close(failed=True)
            raise TrackerError("\n".join(sorted(problems)))
        found = {name: tracker.run_id for name, tracker in opened.items() if tracker.run_id}
        if found:
            _write(path, found)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Hands the metrics of a step to each."""
        for feed in self._feeds:
            feed.log(step, values)

    def close(self, *, failed: bool, timeout_s: float = CLOSE_S) -> None:
        """Ends the run in each."""
        for feed in self._feeds:
            feed.close(failed=failed, timeout_s=timeout_s)


def _problem(name: str, error: Exception) -> str:
    package = error.name.partition(".")[0] if isinstance(error, ImportError) and error.name else ""
    if package == name:
        return f"reports.to: the tracker `{name}` is not installed. Install it, `pip install {name}`, or leave it out."
    reason = str(error).strip() or "no reason given"
    return f"reports.to: the tracker `{name}` cannot be opened: {type(error).__name__}: {reason}"


def _ids(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, str)} if isinstance(found, dict) else {}


def _write(path: Path, ids: Mapping[str, str]) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_text(f"{json.dumps(ids, sort_keys=True)}\n", encoding="utf-8")
    new.replace(path)
