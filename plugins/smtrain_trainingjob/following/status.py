"""How a training job is doing: DescribeTrainingJob as a receipt."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from smtrain.plugin import Receipt, State, aws, receipts
from smtrain_trainingjob.following import price, submitted
from smtrain_trainingjob.following.submitted import Submitted

STATES: Mapping[str, State] = {
    "InProgress": State.RUNNING,
    "Stopping": State.RUNNING,
    "Completed": State.SUCCEEDED,
    "Failed": State.FAILED,
    "Stopped": State.STOPPED,
    "Deleting": State.STOPPED,
}
"""TrainingJobStatus → state."""

_ENDINGS: Mapping[str, str] = {
    "MaxRuntimeExceeded": "it was ended because backend.max_run_s had passed",
    "MaxWaitTimeExceeded": "it was ended because backend.max_wait_s had passed without enough spot capacity",
    "Interrupted": "its spot capacity was taken away",
}
"""SecondaryStatus of a job that was stopped → why (API_DescribeTrainingJob)."""

_LAST = frozenset({"Completed", "Failed", "Stopped", "Stopping", *_ENDINGS})
_ENDED = frozenset({State.SUCCEEDED, State.FAILED, State.STOPPED})
_EXIT_CODE = re.compile(r"exit ?code:? *(\d{1,3})\b", re.IGNORECASE)
_ABSENT = ("not found", "could not find", "does not exist")


def status(run_dir: Path, receipt: Receipt) -> Receipt:
    """Returns a run's receipt as it is now, and keeps it; a run that has ended is not asked about again.

    Raises:
      SmtrainError: AWS refused, or cannot be reached.
    """
    if receipt.state in _ENDED:
        return receipt
    job = submitted.read(run_dir, receipt)
    description = describe(aws.Client("sagemaker", job.region), job.job)
    if description is None:
        reason = f"there is no training job `{job.job}` in {job.region}"
        now = replace(receipt, state=State.LOST, job=job.job, reason=reason)
    else:
        now = as_receipt(receipt, description, job, now=time.time())
    # A disk that is full, or not ours: the state is told all the same, and asked for again the next time.
    with contextlib.suppress(OSError):
        if now != receipt:
            receipts.write(run_dir, now)
    return now


def describe(client: aws.Client, job: str) -> Mapping[str, object] | None:
    """Returns the answer of DescribeTrainingJob; None when there is no such job.

    Raises:
      SmtrainError: AWS refused, or cannot be reached.
    """
    try:
        return client.call("DescribeTrainingJob", TrainingJobName=job)
    except aws.RefusedError as error:
        # SageMaker says ValidationException, with words alone to tell it from a bad request.
        absent = any(words in error.message.lower() for words in _ABSENT)
        if error.error_code == "ResourceNotFound" or (error.error_code == "ValidationException" and absent):
            return None
        raise


def as_receipt(receipt: Receipt, description: Mapping[str, object], job: Submitted, *, now: float) -> Receipt:
    """Returns a receipt with what DescribeTrainingJob answered.

    Args:
      receipt: the receipt so far.
      description: the answer.
      job: the job.
      now: POSIX seconds.
    """
    state = STATES.get(str(description.get("TrainingJobStatus")), State.RUNNING)
    reason = _reason(description, state)
    created = price.seconds(description.get("CreationTime"))
    ended = price.seconds(description.get("TrainingEndTime")) or price.seconds(description.get("LastModifiedTime"))
    return replace(
        receipt,
        state=state,
        job=job.job,
        step=stage(description),
        reason=reason,
        exit_code=_exit_code(reason, state),
        started=receipt.started if created is None else created,
        ended=(ended or now) if state in _ENDED else None,
        usd=price.usd_so_far(description, job.usd_per_hour, now=now),
        hosts=job.hosts,
        url=_console(job.region, job.job),
    )


def _console(region: str, job: str) -> str:
    """Returns the page of a job in AWS's console; other partitions have consoles of their own."""
    if region.startswith(("cn-", "us-gov-", "us-iso", "eu-isoe-")):
        return ""
    return f"https://{region}.console.aws.amazon.com/sagemaker/home?region={region}#/jobs/{job}"


def stage(description: Mapping[str, object]) -> str:
    """Returns the stage that a job is in, or was in last, e.g. "Downloading"; see `SecondaryStatus`."""
    now = str(description.get("SecondaryStatus", ""))
    if now and now not in _LAST:
        return now
    passed = [name for name, _ in transitions(description) if name not in _LAST]
    return passed[-1] if passed else ""


def transitions(description: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    """Returns the stages that a job went through, each with SageMaker's words for it."""
    found = description.get("SecondaryStatusTransitions")
    rows = [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
    return tuple((str(row.get("Status", "")), str(row.get("StatusMessage", ""))) for row in rows)


def _reason(description: Mapping[str, object], state: State) -> str:
    if state is State.STOPPED:
        return _ENDINGS.get(str(description.get("SecondaryStatus")), "")
    return str(description.get("FailureReason") or "").strip() if state is State.FAILED else ""


def _exit_code(reason: str, state: State) -> int | None:
    """Returns the workload's exit code, which SageMaker tells in words alone: "AlgorithmError: …, exit code: 1"."""
    if state is State.SUCCEEDED:
        return 0
    found = _EXIT_CODE.findall(reason)
    return int(found[-1]) if found else None
