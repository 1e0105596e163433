"""Jobs of the plain trainer, and what became of them."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from commands import COMMAND

if TYPE_CHECKING:
    from sagemaker_service import SageMakerService

BUCKET = "bucket"
TWO = ("compute.nodes=2", "strategy=ddp")

TRAINS = """
echo "training on $SMTRAIN_NODE_RANK of $SMTRAIN_NUM_NODES"
if [ $SMTRAIN_NODE_RANK = 0 ]; then
  for step in 1 2; do
    echo "{\\"step\\": $step, \\"total\\": 2, \\"loss\\": $step.5}" >>out/log.jsonl
  done
  mkdir out/checkpoint-2
  echo state >out/checkpoint-2/state
  touch out/checkpoint-2/done
fi
echo "weights of $SMTRAIN_NODE_RANK" >out/adapter.txt
"""
"""Two steps with the losses 1.5 and 2.5, a checkpoint, and a model."""


def script(text: str) -> str:
    """Returns the override that has every host run this bash source."""
    quoted = text.replace("'", "\\'")
    return f"trainer.script='{quoted}'"


def free_port() -> int:
    """Returns a port that is free; so is the next one, as far as one can tell."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1]) // 2 * 2


def job_environment() -> dict[str, str]:
    """Returns what keeps the hosts of this service apart from one another, and from other tests of this machine."""
    return {"SMTRAIN_SCRATCH_DIR": "/opt/ml/scratch", "SMTRAIN_MASTER_PORT": str(free_port())}


def start(*words: str) -> subprocess.Popen[str]:
    """Starts the command as a process of its own."""
    return subprocess.Popen((*COMMAND, *words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def stored(service: SageMakerService, prefix: str) -> dict[str, bytes]:
    """Returns what S3 has below a prefix, by the rest of the key."""
    s3 = service.client("s3")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    keys = [each["Key"] for page in pages for each in page.get("Contents", ())]
    return {key.removeprefix(prefix): s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}


def created(service: SageMakerService, run_id: str) -> list[dict[str, object]]:
    """Returns the requests of a run's jobs, refused ones included."""
    return [
        request
        for operation, request in service.calls
        if operation == "CreateTrainingJob" and request["TrainingJobName"].startswith(run_id)
    ]


def metrics(run_id: str) -> list[dict[str, object]]:
    """Returns the rows of a run's metrics."""
    return [json.loads(row) for row in Path("runs", run_id, "metrics.jsonl").read_text().splitlines()]
