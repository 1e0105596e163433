"""What came of a job, in SageMaker's words."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

LONGEST_REASON = 1024
"""Characters that FailureReason holds (API reference of DescribeTrainingJob)."""


class Status(enum.StrEnum):
    """TrainingJobStatus of a job that has ended."""

    COMPLETED = "Completed"
    FAILED = "Failed"
    STOPPED = "Stopped"


class Phase(enum.StrEnum):
    """SecondaryStatus; the last four are ends."""

    STARTING = "Starting"
    DOWNLOADING = "Downloading"
    TRAINING = "Training"
    STOPPING = "Stopping"
    UPLOADING = "Uploading"
    COMPLETED = "Completed"
    FAILED = "Failed"
    STOPPED = "Stopped"
    MAX_RUNTIME_EXCEEDED = "MaxRuntimeExceeded"


MESSAGES = {
    Phase.STARTING: "Preparing the instances for training",
    Phase.DOWNLOADING: "Downloading input data",
    Phase.TRAINING: "Training image download completed. Training in progress.",
    Phase.STOPPING: "Stopping the training job",
    Phase.UPLOADING: "Uploading generated training model",
    Phase.COMPLETED: "Training job completed",
    Phase.FAILED: "Training job failed",
    Phase.STOPPED: "Training job stopped",
    Phase.MAX_RUNTIME_EXCEEDED: "Training job runtime exceeded MaxRuntimeInSeconds provided",
}
"""StatusMessage of each, as the service's own logs show it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A phase and when it began and ended; `end` is None while it lasts, and for the last one."""

    phase: Phase
    start: datetime
    end: datetime | None = None

    @property
    def message(self) -> str:
        """StatusMessage of the phase."""
        return MESSAGES[self.phase]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a job.

    Attributes:
      status: how it ended.
      failure_reason: why it failed, "" when it did not.
      exit_codes: those of the hosts by name, 128 + signal for a killed one; empty when none was started.
      transitions: every phase, in order.
      seconds: from the start of the download to the end.
    """

    status: Status
    failure_reason: str
    exit_codes: Mapping[str, int]
    transitions: tuple[Transition, ...]
    seconds: float

    @property
    def phase(self) -> Phase:
        """The last phase, which tells a stopped job from one that ran out of time."""
        return self.transitions[-1].phase


def algorithm_error(failure_file: Path, exit_code: int) -> str:
    """Returns the FailureReason of a host that ended with this code: its own words, then the code."""
    ending = f", exit code: {exit_code}"
    head = "AlgorithmError: "
    words = ""
    if failure_file.is_file():
        with failure_file.open(encoding="utf-8", errors="replace") as file:
            words = file.read(LONGEST_REASON)
    return f"{head}{words[: LONGEST_REASON - len(head) - len(ending)]}{ending}"


def client_error(what: str) -> str:
    """Returns the FailureReason of a job whose data or results did not pass."""
    return f"ClientError: {what}"[:LONGEST_REASON]
