"""estimator.py run for real: the SDK starts the job, waits for it, and shows its log; the job itself is executed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sdk_environment
from smtrain_trainingjob import estimator_v2, estimator_v3
from trainingjob.sample_requests import plain

from smtrain import actions
from smtrain.plugin import Upload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sagemaker_service import SageMakerService

pytestmark = [pytest.mark.sdk, pytest.mark.slow]

BUCKET = "bucket"
FILES = (("launch.sh", "launch.sh"), ("a b/é.txt", "a b/é.txt"))
RENDER = {"v2": estimator_v2.render, "v3": estimator_v3.render}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SageMakerService]:
    pytest.importorskip("boto3", reason="boto3 is not installed")
    pytest.importorskip("moto.server", reason="moto[server] is not installed")
    from sagemaker_service import SageMakerService

    with SageMakerService(tmp_path_factory.mktemp("sagemaker")) as service:
        service.client("s3").create_bucket(Bucket=BUCKET)
        yield service


def bundle(folder: Path, service: SageMakerService, name: str, launch: str, sdk: str) -> None:
    """Writes a bundle whose job runs this script, on two hosts."""
    upload = Upload(uri=f"s3://{BUCKET}/store/{name}/", files=FILES)
    source = {"S3DataType": "S3Prefix", "S3Uri": upload.uri, "S3DataDistributionType": "FullyReplicated"}
    request = plain() | {
        "TrainingJobName": name,
        "RoleArn": service.role,
        "InputDataConfig": [{"ChannelName": "program", "DataSource": {"S3DataSource": source}}],
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/{name}"},
    }
    request["ResourceConfig"]["InstanceCount"] = 2
    (folder / "a b").mkdir(parents=True)
    (folder / "launch.sh").write_text(launch, encoding="utf-8")
    (folder / "a b/é.txt").write_text("sent\n", encoding="utf-8")
    (folder / "manifest.json").write_text(json.dumps({"actions": [actions.as_json(upload)]}), encoding="utf-8")
    (folder / "estimator.py").write_text(RENDER[sdk](request, region="us-east-1"), encoding="utf-8")


def start(folder: Path, service: SageMakerService, sdk: str) -> subprocess.CompletedProcess[str]:
    settings = folder.parent / "sagemaker.yaml"
    settings.write_text(
        "SchemaVersion: '1.0'\nSageMaker: {PythonSDK: {Modules: {TelemetryOptOut: true}}}\n", encoding="utf-8"
    )
    environment = {
        **service.environment(),
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder.parent),
        "COLUMNS": "200",
        "SAGEMAKER_USER_CONFIG_OVERRIDE": str(settings),
        "SAGEMAKER_ADMIN_CONFIG_OVERRIDE": str(settings),
    }
    command = (str(sdk_environment.python(f"sdk-{sdk}")), str(folder / "estimator.py"))
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("sdk", ["v2", "v3"])
def test_what_s3_lacks_is_uploaded_and_the_job_waited_for_and_its_log_shown(
    sdk: str, service: SageMakerService, tmp_path: Path
) -> None:
    launch = """\
#!/usr/bin/env bash
host=$(python3 -c 'import json; print(json.load(open("/opt/ml/input/config/resourceconfig.json"))["current_host"])')
echo "on $host: $(cat "/opt/ml/input/data/program/a b/é.txt")"
echo "'loss': 1.2e-05"
"""
    name = f"whole-{sdk}"
    bundle(tmp_path / "bundle", service, name, launch, sdk)
    service.client("s3").put_object(Bucket=BUCKET, Key=f"store/{name}/a b/é.txt", Body=b"there\n")
    ran = start(tmp_path / "bundle", service, sdk)
    shown = ran.stdout + ran.stderr
    assert ran.returncode == 0, shown
    assert "on algo-1: there" in shown
    assert "on algo-2: there" in shown
    found = service.client("sagemaker").describe_training_job(TrainingJobName=name)
    assert found["TrainingJobStatus"] == "Completed"
    assert [(metric["MetricName"], metric["Value"]) for metric in found["FinalMetricDataList"]] == [
        ("loss", pytest.approx(1.2e-05))
    ]


@pytest.mark.parametrize("sdk", ["v2", "v3"])
def test_a_failed_job_fails_the_script_with_the_jobs_reason(
    sdk: str, service: SageMakerService, tmp_path: Path
) -> None:
    launch = "#!/usr/bin/env bash\necho 'out of ink' >/opt/ml/output/failure\nexit 7\n"
    bundle(tmp_path / "bundle", service, f"broken-{sdk}", launch, sdk)
    ran = start(tmp_path / "bundle", service, sdk)
    assert ran.returncode == 1
    assert "out of ink" in ran.stdout + ran.stderr
