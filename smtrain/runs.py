"""A local run: its state now, its log, ending it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import signal
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from smtrain import process_tree, progress, receipts
from smtrain.agent import failure
from smtrain.errors import fail
from smtrain.process_tree import Process
from smtrain.run_folders import spoken
from smtrain.spec import Json, LogLine, Progress, Receipt, State
from smtrain.tail import Tail

LOG = "logs/workload.log"
METRICS = "metrics.jsonl"
WORK = "work"
"""The program's working directory."""

LEFTOVER_GRACE_S = 10.0
"""Seconds that processes have to end when the script that started them is gone."""

_POLL_S = 0.1
_TELLING_LINES = 500  # of the log's end, launchers' reports included
_WORKLOAD, _STEP, _EXIT_CODE, _STOP = "workload.json", "step", "exit_code", "stop"


# --------------------------------------------------------------------------------------------------------------- state


@contextlib.contextmanager
def holding(run_dir: Path) -> Iterator[int]:
    """Holds the run's lock, whose file descriptor the workload's processes are to inherit.

    Raises:
      SmtrainError: the run is going already.
    """
    lock = _open_lock(run_dir)
    try:
        # A second chance: whoever asks whether the run is going holds the lock for a moment.
        for last in (False,) * 5 + (True,):
            if _try_lock(lock, fcntl.LOCK_EX) and not process_tree.members(run_dir):
                break
            if last:
                what = f"Run `{run_dir.name}` is going already."
                raise fail(
                    what,
                    f"Follow it: smtrain logs {spoken(run_dir)} -f\n"
                    f"End it: smtrain stop {spoken(run_dir)}\n"
                    "For another run of the same configuration: attempt=2, or the next free number.",
                )
            time.sleep(_POLL_S)
        yield lock
    finally:
        os.close(lock)


def is_running(run_dir: Path) -> bool:
    """Returns whether any process of the run is left."""
    if not (run_dir / "lock").exists():
        return False
    lock = _open_lock(run_dir)
    try:
        # Shared, so that two who ask do not take one another for the run.
        return not _try_lock(lock, fcntl.LOCK_SH) or bool(process_tree.members(run_dir))
    finally:
        os.close(lock)


def current(run_dir: Path, receipt: Receipt) -> Receipt:
    """Returns a local run's receipt as it is now, and keeps it.

    Whoever started the run writes its end down; if he was killed before that, the launch script's own record is used.
    """
    if receipt.state is not State.RUNNING or is_running(run_dir):
        return receipt
    now = receipts.read(run_dir) or receipt
    if now.state is State.RUNNING:
        code = exit_code(run_dir)
        now = lost(run_dir, now) if code is None else ended(run_dir, now, code)
        # A disk that is full, or not ours: the state is told all the same, and kept the next time.
        with contextlib.suppress(OSError):
            _collect_metrics(run_dir)
            receipts.write(run_dir, now)
    return now


def ended(run_dir: Path, receipt: Receipt, code: int, *, stopped: bool = False) -> Receipt:
    """Returns the receipt of a run whose workload ended; the reason of a failure is the exception that its log names.

    Args:
      run_dir: the run's folder.
      receipt: the receipt so far.
      code: the workload's exit code.
      stopped: whether it was asked to end, apart from `stop`.
    """
    state = State.STOPPED if stopped or (run_dir / _STOP).exists() else State.FAILED
    state = State.SUCCEEDED if code == 0 else state
    record = run_dir / _EXIT_CODE
    when = record.stat().st_mtime if record.exists() else time.time()
    reason = failure.exception_line(tail(run_dir, _TELLING_LINES))[: failure.LIMIT] if state is State.FAILED else ""
    return replace(receipt, state=state, exit_code=code, step=step(run_dir), ended=when, reason=reason)


def lost(run_dir: Path, receipt: Receipt) -> Receipt:
    """Returns the receipt of a run that is gone without a word."""
    return replace(receipt, state=State.LOST, step=step(run_dir), ended=None)


def step(run_dir: Path) -> str:
    """Returns the step that ran last."""
    return _text(run_dir / _STEP)


def exit_code(run_dir: Path) -> int | None:
    """Returns the exit code that the launch script recorded; None when it did not come to that."""
    text = _text(run_dir / _EXIT_CODE)
    return int(text) if text.isdigit() else None


def begin(run_dir: Path) -> None:
    """Makes the folder ready for another try."""
    for name in (_STEP, _EXIT_CODE, _STOP):
        (run_dir / name).unlink(missing_ok=True)


def remember(run_dir: Path, leader: Process, fields: Progress | None = None) -> None:
    """Writes down which process runs the workload, and where the program reports its progress."""
    document: dict[str, Json] = {"pid": leader.pid, "started": leader.started}
    receipts.write_json(run_dir / _WORKLOAD, document | ({"progress": progress.as_json(fields)} if fields else {}))


def progress_file(run_dir: Path, fields: Progress) -> Path:
    """Returns the path of the file in which the program reports its progress."""
    return run_dir / WORK / fields.path


def collect_metrics(run_dir: Path, fields: Progress) -> None:
    """Writes the metrics of a run, from the progress that its program has reported by now."""
    follower = progress.Follower(progress_file(run_dir, fields), fields)
    follower.poll()
    follower.metrics.write(run_dir / METRICS)


def _collect_metrics(run_dir: Path) -> None:
    """Writes the metrics of a run whose watcher was gone before its end."""
    fields = progress.from_json(_workload(run_dir).get("progress"))
    if fields is not None:
        collect_metrics(run_dir, fields)


def _workload(run_dir: Path) -> dict[str, Json]:
    try:
        document = json.loads((run_dir / _WORKLOAD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _leader(run_dir: Path) -> Process | None:
    match _workload(run_dir):
        case {"pid": int(pid), "started": int(started)}:
            return Process(pid, started)
        case _:
            return None


def _open_lock(run_dir: Path) -> int:
    return os.open(run_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _try_lock(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


# --------------------------------------------------------------------------------------------------- stop, logs, metric


def stop(run_dir: Path, receipt: Receipt) -> Receipt:
    """Ends a local run and returns its receipt.

    The launch script gives the step its time to save. Asking a second time kills.

    Args:
      run_dir: the run's folder.
      receipt: its receipt.
    """
    if is_running(run_dir):
        again = (run_dir / _STOP).exists()
        (run_dir / _STOP).touch()
        leader = _leader(run_dir)
        if leader and not again:
            process_tree.send(leader, signal.SIGTERM)
            while process_tree.is_alive(leader):
                time.sleep(_POLL_S)
        process_tree.end(run_dir, grace_s=0 if again else LEFTOVER_GRACE_S)
        # Whoever started it is writing the end down.
        while is_running(run_dir):
            time.sleep(_POLL_S)
    return current(run_dir, receipts.read(run_dir) or receipt)


def log_lines(run_dir: Path, *, follow: bool) -> Iterator[LogLine]:
    """Yields the lines of a local run's log; with `follow`, those to come, until the run ends."""
    growing = Tail(run_dir / LOG)
    while follow and is_running(run_dir):
        yield from map(_line, growing.poll())
        time.sleep(_POLL_S)
    yield from map(_line, growing.poll())
    yield from map(_line, growing.close())


def tail(run_dir: Path, count: int = 20) -> tuple[str, ...]:
    """Returns the last lines of a run's log."""
    return tuple(deque((line.text for line in log_lines(run_dir, follow=False)), maxlen=count))


def _line(text: str) -> LogLine:
    return LogLine(text=text)


def final_metric(run_dir: Path, name: str) -> float | None:
    """Returns the last value of a metric: NaN when it was no finite number, None when there was none."""
    values = [row[name] for row in progress.read(run_dir / METRICS) if name in row]
    if not values:
        return None
    return float(values[-1]) if isinstance(values[-1], int | float) else math.nan
