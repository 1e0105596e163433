"""estimator.py of a compiled bundle, run by the real SDK: the job that `smtrain submit` makes, executed, followed."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sdk_environment
from plain_jobs import BUCKET, TRAINS, TWO, created, script, stored

if TYPE_CHECKING:
    from commands import Smtrain
    from sagemaker_service import SageMakerService

pytest_plugins = ("plain_account", "plain_trainer")
pytestmark = [pytest.mark.sdk("sdk-v2", "sdk-v3"), pytest.mark.slow, pytest.mark.usefixtures("plain_trainer")]

SOURCE = "a b/é.txt"
SHOWS = f'echo "found: $(cat "/opt/ml/input/data/source/{SOURCE}")"; echo "loss=1.2e-05"; {TRAINS}'


def plan(smtrain: Smtrain, *words: str) -> tuple[str, Path]:
    """Compiles a run; returns its id and the folder of its bundle."""
    answer = smtrain("plan", *words, "--json")
    assert answer.code == 0, answer.out + answer.err
    return answer.document["run_id"], Path(answer.document["bundle"]).absolute()


def start(bundle: Path, service: SageMakerService, sdk: str) -> subprocess.CompletedProcess[str]:
    """Runs the script, somewhere else."""
    home = Path("home").absolute()
    home.mkdir()
    settings = home / "sagemaker.yaml"
    settings.write_text(
        "SchemaVersion: '1.0'\nSageMaker: {PythonSDK: {Modules: {TelemetryOptOut: true}}}\n", encoding="utf-8"
    )
    environment = {
        **service.environment(),
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "COLUMNS": "200",
        "SAGEMAKER_USER_CONFIG_OVERRIDE": str(settings),
        "SAGEMAKER_ADMIN_CONFIG_OVERRIDE": str(settings),
    }
    command = (str(sdk_environment.python(f"sdk-{sdk}")), str(bundle / "estimator.py"))
    return subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, timeout=300, check=False)


def uploads(bundle: Path) -> dict[str, str]:
    """Returns the folder in the bucket of each file that the bundle uploads."""
    actions = json.loads((bundle / "manifest.json").read_text())["actions"]
    sent = [action for action in actions if action["do"] == "upload"]
    return {key: action["uri"].removeprefix(f"s3://{BUCKET}/") for action in sent for _, key in action["files"]}


@pytest.mark.parametrize("sdk", ["v2", "v3"])
def test_it_makes_the_job_that_submit_makes(sagemaker, words, smtrain, sdk) -> None:
    Path("code", "a b").mkdir(parents=True)
    Path("code", SOURCE).write_text("sent here\n")
    run_id, bundle = plan(
        smtrain,
        *(*words, *TWO, f"backend.sdk={sdk}", "backend.source_dir=code", f"env.SDK={sdk}", script(SHOWS)),
        "backend.metrics={loss: 'loss=([-+.0-9e]+)'}",
    )
    s3 = sagemaker.client("s3")
    s3.put_object(Bucket=BUCKET, Key=uploads(bundle)[SOURCE] + SOURCE, Body=b"was there\n")

    ran = start(bundle, sagemaker, sdk)
    shown = ran.stdout + ran.stderr
    assert ran.returncode == 0, shown
    # Both hosts are followed, and what was in S3 already was not sent again.
    assert {line for rank in "01" for line in shown.splitlines() if f"training on {rank} of 2" in line}
    assert "found: was there" in shown
    described = sagemaker.client("sagemaker").describe_training_job(TrainingJobName=run_id)
    (metric,) = described["FinalMetricDataList"]
    assert (metric["MetricName"], metric["Value"]) == ("loss", pytest.approx(1.2e-05))
    by_script = kept(sagemaker, run_id)

    # Submitted now, it is there.
    assert smtrain("submit", str(bundle), "--detach", "--json").document["state"] == "succeeded"
    assert len(created(sagemaker, run_id)) == 1

    # Were it not, submitting would make the same one, with the same results.
    forget(sagemaker, run_id)
    (bundle.parent / "receipt.json").unlink()
    assert smtrain("submit", str(bundle), "--detach").code == 0
    assert sagemaker.wait(run_id)["TrainingJobStatus"] == "Completed"
    assert kept(sagemaker, run_id) == by_script
    one, other = map(canonical, created(sagemaker, run_id))
    assert one == other == canonical(json.loads((bundle / "request.json").read_text()))


def canonical(request: dict[str, object]) -> dict[str, object]:
    """Returns a request without what the API takes for said anyway."""
    output = {"CompressionType": "GZIP", **request["OutputDataConfig"]}
    return {name: value for name, value in request.items() if value != {}} | {"OutputDataConfig": output}


def forget(service: SageMakerService, run_id: str) -> None:
    """Makes as if a job had never been."""
    del service.jobs[run_id]
    shutil.rmtree(service.folder / run_id)
    for key in stored(service, f"runs/{run_id}/"):
        service.client("s3").delete_object(Bucket=BUCKET, Key=f"runs/{run_id}/{key}")


def kept(service: SageMakerService, run_id: str) -> dict[str, bytes]:
    """Returns what a run keeps in S3; the marks of checkpoints tell which of several uploads is whole, at random."""
    found = stored(service, f"runs/{run_id}/")
    assert {"progress.jsonl", "output/adapter/adapter.txt", "checkpoints/adapter/checkpoint-2/state"} <= found.keys()
    return {key: b"" if "/.smtrain" in key else content for key, content in found.items()}


@pytest.mark.parametrize("sdk", ["v2", "v3"])
def test_a_failed_job_fails_it_with_the_jobs_reason(sagemaker, words, smtrain, sdk) -> None:
    fails = script("echo 'ValueError: out of ink' >&2; exit 7")
    run_id, bundle = plan(smtrain, *words, f"backend.sdk={sdk}", f"env.SDK={sdk}", fails)
    ran = start(bundle, sagemaker, sdk)
    assert ran.returncode == 1
    assert "step train failed with exit code 7: ValueError: out of ink" in ran.stdout + ran.stderr
    # What smtrain makes of that job is a second try.
    assert smtrain("submit", str(bundle), "--detach", "--json").document["job"] == f"{run_id}-t2"
