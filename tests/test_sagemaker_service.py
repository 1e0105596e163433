"""The SageMaker endpoint that other tests run their jobs on: asked with boto3, as they ask it."""

from __future__ import annotations

import io
import tarfile
import threading
import time

import pytest

pytest.importorskip("boto3", reason="boto3 is not installed")
pytest.importorskip("moto.server", reason="moto[server] is not installed")

from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError
from sagemaker_service import SageMakerService


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with SageMakerService(tmp_path_factory.mktemp("sagemaker"), grace_s=5, sync_every_s=0.1) as service:
        service.client("s3").create_bucket(Bucket="bucket")
        for key in ("rows/a.jsonl", "rows/deep/b.jsonl", "rows/c.jsonl"):
            service.client("s3").put_object(Bucket="bucket", Key=key, Body=key.encode())
        yield service


@pytest.fixture
def sagemaker(service):
    return service.client("sagemaker")


@pytest.fixture
def once(service):
    """A client that tries once."""
    import boto3

    return boto3.client(
        "sagemaker",
        endpoint_url=service.url,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        config=Config(retries={"total_max_attempts": 1}),
    )


def _request(service, name, script="true", **members):
    return {
        "TrainingJobName": name,
        "RoleArn": service.role,
        "AlgorithmSpecification": {
            "TrainingImage": "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.8",
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["/bin/bash", "-c"],
            "ContainerArguments": [script],
        },
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/out"},
        "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        **members,
    }


def _channel(name, uri, **source):
    return {"ChannelName": name, "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri, **source}}}


def _code(caught):
    return caught.value.response["Error"]["Code"]


def _message(caught):
    return caught.value.response["Error"]["Message"]


# ----------------------------------------------------------------------------------------------------- a whole job


def test_a_job_runs_with_its_channels_logs_metrics_and_artifact(service, sagemaker):
    script = "cd /opt/ml; find input/data -type f|sort; echo loss=1.2e-05; echo loss=nan; echo m>model/m"
    request = _request(
        service,
        "Whole-job",
        script,
        InputDataConfig=[_channel("rows", "s3://bucket/rows/")],
        Environment={"A": "b c"},
        HyperParameters={"lr": "0.1"},
        Tags=[{"Key": "team", "Value": "x"}],
    )
    request["AlgorithmSpecification"]["MetricDefinitions"] = [
        {"Name": "loss", "Regex": r"loss=([-+.\w]+)"},
        {"Name": "never", "Regex": "x=(.)"},
    ]
    arn = sagemaker.create_training_job(**request)["TrainingJobArn"]
    found = service.wait("Whole-job")
    assert arn == found["TrainingJobArn"] == "arn:aws:sagemaker:us-east-1:123456789012:training-job/whole-job"
    assert (found["TrainingJobStatus"], found["SecondaryStatus"]) == ("Completed", "Completed")
    assert [each["Status"] for each in found["SecondaryStatusTransitions"]] == [
        "Starting",
        "Downloading",
        "Training",
        "Uploading",
        "Completed",
    ]
    assert found["TrainingStartTime"] <= found["TrainingEndTime"]
    assert 0 < found["BillableTimeInSeconds"] < 30
    assert {key: found[key] for key in request if key in found} == {
        key: value for key, value in request.items() if key != "Tags"
    }
    assert service.log("Whole-job") == {
        "algo-1": [
            "input/data/rows/a.jsonl",
            "input/data/rows/c.jsonl",
            "input/data/rows/deep/b.jsonl",
            "loss=1.2e-05",
            "loss=nan",
        ]
    }
    assert [(each["MetricName"], each["Value"]) for each in found["FinalMetricDataList"]] == [
        ("loss", pytest.approx(1.2e-05))
    ]
    uri = found["ModelArtifacts"]["S3ModelArtifacts"]
    assert uri == "s3://bucket/out/Whole-job/output/model.tar.gz"
    content = service.client("s3").get_object(Bucket="bucket", Key=uri.removeprefix("s3://bucket/"))["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        assert archive.extractfile("m").read() == b"m\n"
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == request["Tags"]


def test_two_hosts_have_a_stream_each_and_share_a_sharded_channel(service, sagemaker):
    inputs = [_channel("rows", "s3://bucket/rows", S3DataDistributionType="ShardedByS3Key")]
    request = _request(service, "two-hosts", "hostname; ls /opt/ml/input/data/rows", InputDataConfig=inputs)
    request["ResourceConfig"]["InstanceCount"] = 2
    sagemaker.create_training_job(**request)
    assert service.wait("two-hosts")["TrainingJobStatus"] == "Completed"
    log = service.log("two-hosts")
    assert (log["algo-1"][1:], log["algo-2"][1:]) == (["a.jsonl", "deep"], ["c.jsonl"])


def test_a_failed_job_says_why(service, sagemaker):
    sagemaker.create_training_job(**_request(service, "failing", "echo no memory >/opt/ml/output/failure; exit 2"))
    found = service.wait("failing")
    assert (found["TrainingJobStatus"], found["SecondaryStatus"]) == ("Failed", "Failed")
    assert found["FailureReason"] == "AlgorithmError: no memory\n, exit code: 2"
    assert service.jobs["failing"].exit_codes == {"algo-1": 2}


def test_a_stopped_job_saves_and_its_checkpoints_come_back(service, sagemaker):
    script = (
        "cd /opt/ml/checkpoints; ls; echo 1 >step-1; trap 'echo 2 >step-2; exit 0' TERM; "
        "echo up; while true; do sleep 0.1; done"
    )
    checkpoints = {"S3Uri": "s3://bucket/checkpoints/stopped"}
    sagemaker.create_training_job(**_request(service, "stopped", script, CheckpointConfig=checkpoints))
    s3 = service.client("s3")
    _until(lambda: s3.list_objects_v2(Bucket="bucket", Prefix="checkpoints/stopped/step-1")["KeyCount"] == 1)
    _until(lambda: "up" in service.log("stopped").get("algo-1", ()))
    assert sagemaker.describe_training_job(TrainingJobName="stopped")["SecondaryStatus"] == "Training"
    sagemaker.stop_training_job(TrainingJobName="stopped")
    found = service.wait("stopped")
    assert (found["TrainingJobStatus"], found["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert "FailureReason" not in found
    assert "Stopping" in [each["Status"] for each in found["SecondaryStatusTransitions"]]
    sagemaker.create_training_job(
        **_request(service, "again", "ls $CKPT", CheckpointConfig=checkpoints)
        | {"Environment": {"CKPT": "/opt/ml/checkpoints"}}
    )
    service.wait("again")
    assert service.log("again") == {"algo-1": ["step-1", "step-2"]}
    with pytest.raises(ClientError, match="rejected because the training job is in status Stopped"):
        sagemaker.stop_training_job(TrainingJobName="stopped")


def test_a_job_past_its_time_is_stopped_for_it(service, sagemaker):
    request = _request(service, "long", "trap 'exit 0' TERM; while true; do sleep 0.1; done")
    sagemaker.create_training_job(**request | {"StoppingCondition": {"MaxRuntimeInSeconds": 1}})
    found = service.wait("long")
    assert (found["TrainingJobStatus"], found["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")


def test_objects_that_cannot_lie_beside_one_another_fail_the_job_that_downloads_them(service, sagemaker):
    for key in ("odd/x", "odd/x/y"):
        service.client("s3").put_object(Bucket="bucket", Key=key, Body=b"x")
    request = _request(service, "odd", "echo trained", InputDataConfig=[_channel("odd", "s3://bucket/odd/")])
    sagemaker.create_training_job(**request)
    found = service.wait("odd")
    assert found["TrainingJobStatus"] == "Failed"
    assert found["FailureReason"].startswith("ClientError: Data download failed:")
    assert service.log("odd") == {}


# -------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r.update(TrainingJobName="a.b"), "at 'trainingJobName' failed to satisfy"),
        (lambda r: r.update(TrainingJobName="a" * 64), "between 1 and 63"),
        (lambda r: r["ResourceConfig"].update(InstanceType="ml.g5.huge"), "'ml.g5.huge' at 'resourceConfig.instanceT"),
        (lambda r: r.update(Environment={"A": "x" * 513}), "at 'environment.A.member'"),
        (lambda r: r.update(Environment={f"A{n}": "x" for n in range(101)}), "between 0 and 100"),
        (lambda r: r["AlgorithmSpecification"].update(ContainerEntrypoint=["x" * 257]), "containerEntrypoint.1.member"),
        (lambda r: r.update(HyperParameters={"a": "b\nc"}), "'hyperParameters.a.member'"),
        (lambda r: r["OutputDataConfig"].update(S3OutputPath="/tmp/x"), "at 'outputDataConfig.s3OutputPath'"),
        (lambda r: r.update(RetryStrategy={"MaximumRetryAttempts": 31}), "between 1 and 30"),
        (lambda r: r.update(RoleArn="arn:aws:iam::123456789012:role/nobody"), "Could not assume role"),
        (lambda r: r.update(EnableManagedSpotTraining=True), "MaxWaitTimeInSeconds is required"),
        (lambda r: r["ResourceConfig"].pop("InstanceType"), "exactly one of InstanceType and InstanceGroups"),
        (lambda r: r.update(InputDataConfig=[_channel("a", "s3://bucket/nothing/")]), "No S3 objects found under"),
        (lambda r: r.update(InputDataConfig=[_channel("a", "s3://no-bucket/rows/")]), "No S3 objects found under"),
        (lambda r: r.update(InputDataConfig=[_channel("a", "s3://bucket/rows/")] * 2), "names must be unique"),
        (lambda r: r.update(InputDataConfig=[_channel(f"a{n}", "s3://bucket/rows/") for n in range(21)]), "1 and 20"),
    ],
)
def test_a_bad_request_is_refused_as_sagemaker_does(service, sagemaker, change, words):
    request = _request(service, "refused")
    change(request)
    before = len(service.jobs)
    with pytest.raises(ClientError) as caught:
        sagemaker.create_training_job(**request)
    assert _code(caught) == "ValidationException"
    assert words in _message(caught)
    assert len(service.jobs) == before


def test_a_member_that_is_not_in_the_model_is_refused(service):
    import boto3

    lax = boto3.client(
        "sagemaker",
        endpoint_url=service.url,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        config=Config(parameter_validation=False),
    )
    with pytest.raises(ClientError, match=r"resourceConfig\.instanceCount' failed"):
        lax.create_training_job(
            **_request(service, "lax")
            | {"ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": "two", "VolumeSizeInGB": 1}}
        )


def test_a_name_is_used_once_even_by_two_at_a_time(service, sagemaker):
    answers = []

    def create():
        try:
            answers.append(sagemaker.create_training_job(**_request(service, "twice")))
        except ClientError as error:
            answers.append(error.response["Error"]["Code"])

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, answers))[:3] == ["ResourceInUse"] * 3
    assert len(answers) == 4
    service.wait("twice")


def test_an_unknown_job_is_not_found(sagemaker):
    for ask in (sagemaker.describe_training_job, sagemaker.stop_training_job):
        with pytest.raises(ClientError, match="Requested resource not found"):
            ask(TrainingJobName="nobody")


def test_jobs_are_listed_by_name_and_status_in_pages(service, sagemaker):
    for number in range(3):
        sagemaker.create_training_job(**_request(service, f"listed-{number}", f"exit {number % 2}"))
        service.wait(f"listed-{number}")
    pages = sagemaker.get_paginator("list_training_jobs").paginate(
        NameContains="LISTED", StatusEquals="Completed", SortBy="Name", SortOrder="Ascending", MaxResults=1
    )
    names = [[each["TrainingJobName"] for each in page["TrainingJobSummaries"]] for page in pages]
    assert names == [["listed-0"], ["listed-2"]]


def test_a_running_job_can_be_updated(service, sagemaker):
    sagemaker.create_training_job(**_request(service, "updated", "sleep 60"))
    sagemaker.update_training_job(TrainingJobName="updated", RemoteDebugConfig={"EnableRemoteDebug": True})
    found = sagemaker.describe_training_job(TrainingJobName="updated")
    assert found["RemoteDebugConfig"] == {"EnableRemoteDebug": True}
    service.jobs["updated"].kill()
    service.wait("updated")


# ---------------------------------------------------------------------------------------------------------- faults


def test_a_create_can_be_accepted_without_an_answer(service, once):
    service.create_accepts_but_times_out(1)
    with pytest.raises(ConnectionClosedError):
        once.create_training_job(**_request(service, "unanswered"))
    assert service.wait("unanswered")["TrainingJobStatus"] == "Completed"
    with pytest.raises(ClientError) as caught:
        once.create_training_job(**_request(service, "unanswered"))
    assert _code(caught) == "ResourceInUse"


def test_calls_can_be_throttled_a_number_of_times(service, once):
    service.throttle("ListTrainingJobs", 2)
    for _ in range(2):
        with pytest.raises(ClientError) as caught:
            once.list_training_jobs()
        assert _code(caught) == "ThrottlingException"
    once.list_training_jobs()


def test_calls_can_be_refused_also_those_of_other_services(service, once):
    service.refuse("CreateTrainingJob", "ResourceLimitExceeded", "The account-level service limit is 0 Instances")
    service.refuse("DescribeLogStreams", "AccessDeniedException")
    try:
        with pytest.raises(ClientError, match="limit is 0") as caught:
            once.create_training_job(**_request(service, "too-many"))
        assert _code(caught) == "ResourceLimitExceeded"
        with pytest.raises(ClientError, match="AccessDenied"):
            service.log("any")
    finally:
        service.refuse("CreateTrainingJob", None)
        service.refuse("DescribeLogStreams", None)
    assert service.log("any") == {}


def test_closing_ends_running_jobs_at_once(tmp_path):
    with SageMakerService(tmp_path, grace_s=60) as service:
        service.client("sagemaker").create_training_job(
            **_request(service, "endless", "trap '' TERM; echo up; while true; do sleep 0.1; done")
        )
        _until(lambda: "up" in service.log("endless").get("algo-1", ()))
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert service.jobs["endless"].exit_codes == {"algo-1": 137}


def _until(true, timeout_s=20):
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
