"""What a job has cost, from the price that its bundle was compiled with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

_HOUR_S = 3600


def usd_so_far(description: Mapping[str, object], usd_per_hour: float | None, *, now: float) -> float | None:
    """Returns what a job has cost, in US dollars; without volumes, transfer and tax.

    An ended job is billed for BillableTimeInSeconds, times the hosts; on spot capacity those seconds are fewer than the
    training's, which is how the discount is given (API_DescribeTrainingJob). While it runs, the time since the hosts
    were there is taken: on spot capacity, that is the most that it may have cost.

    Args:
      description: the answer of DescribeTrainingJob.
      usd_per_hour: of all hosts together.
      now: POSIX seconds.

    Returns:
      None when the price is not known.
    """
    if usd_per_hour is None:
        return None
    billable = description.get("BillableTimeInSeconds")
    if isinstance(billable, int | float):
        return usd_per_hour * billable / _HOUR_S
    began, ended = seconds(description.get("TrainingStartTime")), seconds(description.get("TrainingEndTime"))
    return usd_per_hour * max((ended or now) - began, 0.0) / _HOUR_S if began is not None else 0.0


def seconds(value: object) -> float | None:
    """Returns the POSIX seconds of a time as boto3 gives it; None for anything else."""
    return value.timestamp() if isinstance(value, datetime) else None
