"""How a job is doing, as a receipt."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from smtrain.plugin import Receipt, State, receipts
from smtrain_hyperpod.slurm.following import job_look, submitted
from smtrain_hyperpod.slurm.following.job_look import Look
from smtrain_hyperpod.transport.reached import login_node

_ENDED = frozenset({State.SUCCEEDED, State.FAILED, State.STOPPED})
_ENDINGS: Mapping[str, str] = {
    "TIMEOUT": "it was ended because its time limit was over",
    "DEADLINE": "it was ended because its deadline had come",
    "OUT_OF_MEMORY": "a node ran out of the memory that the job has",
    "NODE_FAIL": "a node failed",
    "BOOT_FAIL": "a node did not start",
    "PREEMPTED": "another job took its nodes",
}
"""Slurm's word for the end of a job → what it means, where the job itself could not tell."""

_SECOND_HAND = "stopped because"
"""How a node begins that ended because of another one."""


def status(run_dir: Path, receipt: Receipt) -> Receipt:
    """Returns a run's receipt as it is now, and keeps it; a run that has ended is not asked about again.

    Raises:
      SmtrainError: the login node, or Slurm, cannot be reached.
    """
    if receipt.state in _ENDED:
        return receipt
    target = submitted.read(run_dir, receipt)
    seen = job_look.look(login_node(target.login, key="backend.login"), receipt.job, target.run)
    now = as_receipt(receipt, seen, now=time.time())
    # A disk that is full, or not ours: the state is told all the same, and asked for again the next time.
    with contextlib.suppress(OSError):
        if now != receipt:
            receipts.write(run_dir, now)
    return now


def as_receipt(receipt: Receipt, seen: Look, *, now: float) -> Receipt:
    """Returns a receipt with what was seen of its job.

    Args:
      receipt: the receipt so far.
      seen: of the job.
      now: POSIX seconds.
    """
    if not seen.known:
        return replace(receipt, state=State.LOST, reason=f"Slurm knows no job {receipt.job}, and it wrote nothing down")
    over = seen.state in _ENDED
    return replace(
        receipt,
        state=seen.state,
        exit_code=seen.exit_code if over else None,
        step=seen.step if over or not seen.word or not _waits(seen) else _waiting(seen),
        started=seen.started or receipt.started,
        ended=(seen.ended or now) if over else None,
        reason=_reason(seen) if over else "",
        hosts=seen.nodes if seen.nodes is not None else receipt.hosts,
    )


def _waits(seen: Look) -> bool:
    return seen.started is None


def _waiting(seen: Look) -> str:
    words = seen.word.lower().replace("_", " ")
    words += f": {seen.waits_for}" if seen.waits_for else ""
    return f"{words}, requeued {seen.restarts} times" if seen.restarts else words


def _reason(seen: Look) -> str:
    if seen.state is State.SUCCEEDED:
        return ""
    first_hand = [text for text in seen.failures if not text.startswith(_SECOND_HAND)]
    told = (first_hand or list(seen.failures) or [""])[0]
    ending = _ENDINGS.get(seen.word, "")
    return "\n".join(text for text in (ending, told) if text)
