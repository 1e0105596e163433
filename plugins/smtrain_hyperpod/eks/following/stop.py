"""Ending a job: it is deleted, which gives its pods SIGTERM and their time to save; what they say till then is kept."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from pathlib import Path

from smtrain.plugin import LogLine, Receipt, State, receipts
from smtrain_hyperpod.eks import kubectl, submission
from smtrain_hyperpod.eks.following import logs, status

_MARGIN_S = 30.0
"""Beyond the pods' own time to end."""


def stop(run_dir: Path, receipt: Receipt, *, poll_s: float = 2.0) -> Receipt:
    """Ends a run and returns its receipt; one that has ended already is left as it is.

    Args:
      run_dir: the run's folder.
      receipt: its receipt.
      poll_s: seconds between two looks.

    Raises:
      SmtrainError: the cluster refused, or cannot be reached.
    """
    receipt = status.status(run_dir, receipt)
    if receipt.state is not State.RUNNING:
        return receipt
    submitted = submission.read(run_dir, receipt)
    cluster, name = kubectl.of(submitted), receipt.job or receipt.run_id
    streams = logs.Streams(cluster, name)
    try:
        # The logs go with the pods.
        streams.look()
        cluster.run("delete", submitted.resource, name, "--ignore-not-found", "--wait=false")
        deadline = time.monotonic() + submitted.grace_s + _MARGIN_S
        left = streams.look()
        while left and time.monotonic() < deadline:
            for line in streams.new(poll_s):
                _keep(run_dir, line)
            left = streams.look()
        for line in streams.new(poll_s if not streams.ended else 0):
            _keep(run_dir, line)
    finally:
        streams.close()
    reason = f"{len(left)} pods are still ending: {', '.join(left)}" if left else ""
    now = replace(receipt, state=State.STOPPED, ended=time.time(), reason=reason)
    receipts.write(run_dir, now)
    return now


def _keep(run_dir: Path, line: LogLine) -> None:
    with contextlib.suppress(OSError):
        logs.keep(run_dir, line)
