"""Runs to submit to a service of AWS, from a test or from a process of their own: `python submitting.py RUN_DIR`."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from smtrain.manifest import Manifest
from smtrain.passes.submit import submit
from smtrain.spec import Action, ApiCall, Probe, Receipt, State, Upload

RUN_ID = "probe-0123456789"
CALL = ApiCall(
    service="sagemaker",
    operation="CreateTrainingJob",
    request="request.json",
    name="TrainingJobName",
    taken="ResourceInUse",
    probe=Probe(
        operation="DescribeTrainingJob",
        status="TrainingJobStatus",
        states={
            "InProgress": State.RUNNING,
            "Stopping": State.RUNNING,
            "Completed": State.SUCCEEDED,
            "Failed": State.FAILED,
            "Stopped": State.STOPPED,
        },
    ),
    region="us-east-1",
)
_REQUEST = {
    "RoleArn": "arn:aws:iam::123456789012:role/smtrain",
    "OutputDataConfig": {"S3OutputPath": "s3://bucket1/out"},
    "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30},
    "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    "AlgorithmSpecification": {"TrainingImage": "image", "TrainingInputMode": "File"},
}


class Watching:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    def progress(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        raise AssertionError


class Printing(Watching):
    def line(self, text: str) -> None:
        print(text, flush=True)


def make_run(folder: Path, *, run_id: str = RUN_ID) -> Path:
    """Makes the folder of a run, with a request in its bundle."""
    run_dir = folder / run_id
    (run_dir / "bundle").mkdir(parents=True)
    (run_dir / "bundle" / "request.json").write_text(json.dumps({"TrainingJobName": run_id, **_REQUEST}))
    (run_dir / "bundle" / "train.py").write_text("print('training')\n")
    return run_dir


UPLOAD = Upload(uri="s3://bucket1/store/abc/", files=(("train.py", "train.py"),), region="us-east-1")


def submit_run(run_dir: Path, watching: Watching | None = None, *, actions: Iterable[Action] = (CALL,)) -> Receipt:
    """Submits the run."""
    manifest = Manifest(
        run_id=run_dir.name,
        backend="trainingjob",
        trainer="probe",
        files={},
        actions=tuple(actions),
        progress=None,
        cost=None,
        plugins={},
    )
    return submit(run_dir, manifest, env={}, observer=watching or Watching())


def start(run_dir: Path, env: Mapping[str, str], *words: str) -> subprocess.Popen[str]:
    """Submits the run from a process of its own; `--upload` has it upload a file first."""
    return subprocess.Popen(
        (sys.executable, __file__, str(run_dir), *words),
        env={**env, "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(condition: object, timeout_s: float = 30) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]  # a lambda
        assert time.monotonic() < deadline
        time.sleep(0.02)


if __name__ == "__main__":
    receipt = submit_run(Path(sys.argv[1]), Printing(), actions=(UPLOAD, CALL) if "--upload" in sys.argv else (CALL,))
    print(receipt.job, receipt.state.value)
