"""Ending a training job: it gets SIGTERM, and 120 seconds to save (API_StopTrainingJob)."""

from __future__ import annotations

import time
from pathlib import Path

from smtrain.plugin import Receipt, State, aws
from smtrain_trainingjob.following import submitted
from smtrain_trainingjob.following.status import status

WAIT_S = 300.0
"""Seconds to wait for the end: the job's own 120, and as many for what SageMaker uploads."""


def stop(run_dir: Path, receipt: Receipt, *, wait_s: float = WAIT_S, poll_s: float = 3.0) -> Receipt:
    """Ends a run and returns its receipt; one that has ended already is left as it is.

    Args:
      run_dir: the run's folder.
      receipt: its receipt.
      wait_s: seconds to wait for its end; the receipt may say that it still runs.
      poll_s: seconds between two looks.

    Raises:
      SmtrainError: AWS refused, or cannot be reached.
    """
    receipt = status(run_dir, receipt)
    if receipt.state is not State.RUNNING:
        return receipt
    job = submitted.read(run_dir, receipt)
    try:
        aws.Client("sagemaker", job.region).call("StopTrainingJob", TrainingJobName=job.job)
    except aws.RefusedError:
        # It may have ended in between, which SageMaker answers with a ValidationException.
        receipt = status(run_dir, receipt)
        if receipt.state is State.RUNNING:
            raise
    deadline = time.monotonic() + wait_s
    while receipt.state is State.RUNNING:
        receipt = status(run_dir, receipt)
        if receipt.state is not State.RUNNING or time.monotonic() >= deadline:
            break
        time.sleep(poll_s)
    return receipt
