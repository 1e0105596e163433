"""Runs of the backend trainingjob, submitted to the SageMaker endpoint of the tests without being compiled."""

from __future__ import annotations

import json
from pathlib import Path

from smtrain_trainingjob.backend import PROBE

from smtrain.manifest import Manifest, render
from smtrain.plugin import ApiCall, Cost, Progress, Receipt, State

BUCKET = "bucket"
REGION = "us-east-1"
PROGRESS = Progress(path="logs/log.jsonl", step="step", total="total", metrics={"loss": "loss"})


class Watching:
    """An observer that remembers."""

    def __init__(self):
        self.lines = []

    def line(self, text):
        self.lines.append(text)

    def progress(self, step, total, metrics):
        raise AssertionError


def request_of(name, script="true", *, hosts=1, role="arn:aws:iam::123456789012:role/smtrain", **members):
    """Returns a request whose job runs a line of bash on every host."""
    return {
        "TrainingJobName": name,
        "RoleArn": role,
        "AlgorithmSpecification": {
            "TrainingImage": "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.8",
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["/bin/bash", "-c"],
            "ContainerArguments": [script],
        },
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/runs"},
        "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": hosts, "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
        "Environment": {"SMTRAIN_OUTPUT_URI": f"s3://{BUCKET}/runs/{name}"},
        **members,
    }


def run_of(folder: Path, request, *, usd_per_hour=36.0, job=None, tries=1) -> tuple[Path, Receipt]:
    """Returns the folder and the receipt of a run whose bundle is this request."""
    name = request["TrainingJobName"]
    run_dir = folder / name
    (run_dir / "bundle").mkdir(parents=True, exist_ok=True)
    (run_dir / "bundle" / "request.json").write_text(json.dumps(request))
    call = ApiCall(
        service="sagemaker",
        operation="CreateTrainingJob",
        request="request.json",
        name="TrainingJobName",
        taken="ResourceInUse",
        probe=PROBE,
        region=REGION,
    )
    manifest = Manifest(
        run_id=name,
        backend="trainingjob",
        trainer="probe",
        files={},
        actions=(call,),
        progress=PROGRESS,
        cost=Cost(usd_per_hour=usd_per_hour, max_hours=24, basis="") if usd_per_hour is not None else None,
        plugins={},
    )
    (run_dir / "bundle" / "manifest.json").write_text(render(manifest))
    receipt = Receipt(
        run_id=name, backend="trainingjob", state=State.RUNNING, started=1.0, job=job or name, tries=tries
    )
    return run_dir, receipt


def submitted(service, folder, name, script="true", *, usd_per_hour=36.0, **members):
    """Submits a job, and returns its run's folder and receipt."""
    request = request_of(name, script, role=service.role, **members)
    service.client("sagemaker").create_training_job(**request)
    return run_of(folder, request, usd_per_hour=usd_per_hour)
