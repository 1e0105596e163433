"""How a job is doing: its conditions and its pods, as a receipt."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

from smtrain.plugin import Json, Receipt, SmtrainError, State, receipts
from smtrain_hyperpod.eks import kubectl, pod, submission
from smtrain_hyperpod.eks.following import conditions
from smtrain_hyperpod.eks.kubectl import Kubectl
from smtrain_hyperpod.eks.submission import Submission

_ENDED = (State.SUCCEEDED, State.FAILED, State.STOPPED)
_HOUR_S = 3600
_LONGEST_STEP = 200


def status(run_dir: Path, receipt: Receipt) -> Receipt:
    """Returns a run's receipt as it is now, and keeps it; a run that has ended is not asked about again.

    Raises:
      SmtrainError: the cluster refused, or cannot be reached.
    """
    if receipt.state in _ENDED:
        return receipt
    submitted = submission.read(run_dir, receipt)
    cluster, name = kubectl.of(submitted), receipt.job or receipt.run_id
    job = cluster.get(submitted.resource, name)
    if job is None:
        reason = f"there is no {submitted.kind} `{name}`; it was deleted, or removed backend.keep_s after its end"
        now = replace(receipt, state=State.LOST, job=name, reason=reason)
    else:
        now = as_receipt(receipt, job, pods(cluster, name), submitted, now=time.time())
    # A disk that is full, or not ours: the state is told all the same, and asked for again the next time.
    with contextlib.suppress(OSError):
        if now != receipt:
            receipts.write(run_dir, now)
    return now


def pods(cluster: Kubectl, job: str) -> list[dict[str, Json]]:
    """Returns the pods of a job; none where they may not be listed, which the job itself does not depend on."""
    try:
        return cluster.items("pods", f"--selector={pod.JOB_LABEL}={job}")
    except SmtrainError:
        return []


def as_receipt(
    receipt: Receipt, job: Mapping[str, Json], pods: list[dict[str, Json]], submitted: Submission, *, now: float
) -> Receipt:
    """Returns a receipt with what the cluster says.

    Args:
      receipt: the receipt so far.
      job: the job, as the cluster has it.
      pods: its pods.
      submitted: where it is.
      now: POSIX seconds.
    """
    state, last = conditions.state(job), conditions.latest(job)
    said = cast("dict[str, Json]", job.get("status") or {})
    began = conditions.seconds(said.get("startTime"))
    ended = conditions.seconds(said.get("completionTime")) or conditions.seconds(last.get("lastTransitionTime"))
    over = state in _ENDED
    reason, code = _reason(last, pods) if state is State.FAILED else ("", 0 if state is State.SUCCEEDED else None)
    return replace(
        receipt,
        state=state,
        job=receipt.job or receipt.run_id,
        step=_stage(last, pods) if state is State.RUNNING else receipt.step,
        reason=reason,
        exit_code=code,
        started=receipt.started if began is None else began,
        ended=(ended or now) if over else None,
        usd=_usd(submitted, began, ended if over else now),
        hosts=submitted.nodes,
    )


def _stage(last: Mapping[str, Json], pods: list[dict[str, Json]]) -> str:
    """Returns what the job is at, and what it waits for."""
    waiting = list(dict.fromkeys(conditions.waiting(pods)))
    words = str(last.get("type") or "Created")
    if not waiting:
        return words
    text = f"{words}; {waiting[0]}"
    return text if len(text) <= _LONGEST_STEP else f"{text[:_LONGEST_STEP]}…"


def _reason(last: Mapping[str, Json], pods: list[dict[str, Json]]) -> tuple[str, int | None]:
    """Returns why a job failed, and the exit code: of the pod that was the cause, or in the operator's words."""
    told = str(last.get("message") or last.get("reason") or "").strip()
    cause = conditions.failed(pods)
    if cause is None:
        return told, conditions.exit_code(told)
    where = f"{cause.pod} on {cause.node}" if cause.node else cause.pod
    return f"{where}: {cause.message or told}".rstrip(": "), cause.exit_code


def _usd(submitted: Submission, began: float | None, until: float | None) -> float | None:
    if submitted.usd_per_hour is None:
        return None
    return 0.0 if began is None or until is None else submitted.usd_per_hour * max(until - began, 0.0) / _HOUR_S
