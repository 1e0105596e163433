"""`Receipt`: what came back."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class State(enum.Enum):
    """The life of a run."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    LOST = "lost"  # it was running, and is gone without a word


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What came back from a submission.

    Attributes:
      run_id: name, digest and attempt; the run's folder has this name.
      backend: which backend ran it.
      state: its state when the receipt was written.
      exit_code: the workload's own exit code, once it ended.
      step: the step that failed, or was running last.
      started: POSIX seconds.
      ended: POSIX seconds, once it ended.
      job: what the target calls it, where it has a name there.
      tries: how often this bundle was launched; a try goes on from where the one before it left off.
      reason: why it failed, in the target's or the program's words.
      usd: what it has cost so far; None when nobody knows.
      hosts: how many it runs on; None where that is not told.
      url: page on which the target shows it; "" when there is none.
    """

    run_id: str
    backend: str
    state: State
    exit_code: int | None = None
    step: str = ""
    started: float = 0.0
    ended: float | None = None
    job: str = ""
    tries: int = 1
    reason: str = ""
    usd: float | None = None
    hosts: int | None = None
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A line of a run's output, and the host that it is from; "" where there is one only."""

    text: str
    host: str = ""
