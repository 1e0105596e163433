from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from job_service import HANG, LOST, JobService, Refusal, serve
from submitting import RUN_ID, Watching, make_run, start, submit_run, until

from smtrain import receipts
from smtrain.aws import client as aws
from smtrain.errors import ExitCode, SmtrainError
from smtrain.spec import State

pytest.importorskip("boto3", reason="boto3 is not installed; the extra `aws` brings it")

THROTTLED = Refusal(code="ThrottlingException", message="Rate exceeded")
CREATE, DESCRIBE = "CreateTrainingJob", "DescribeTrainingJob"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[JobService]:
    with serve() as found:
        for name, value in found.environment().items():
            monkeypatch.setenv(name, value)
        aws._session.cache_clear()
        yield found


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return make_run(tmp_path)


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that boto3 would have waited between its tries, none of which it waits."""
    found: list[float] = []
    monkeypatch.setattr("botocore.endpoint.time.sleep", found.append)
    return found


def refused(run_dir: Path) -> SmtrainError:
    with pytest.raises(SmtrainError) as caught:
        submit_run(run_dir)
    return caught.value


# ---------------------------------------------------------------------------------------------------- one job, once


def test_the_request_is_sent_as_it_is_in_the_bundle(run_dir: Path, service: JobService) -> None:
    watching = Watching()
    receipt = submit_run(run_dir, watching)
    assert service.requests == [json.loads((run_dir / "bundle" / "request.json").read_text())]
    assert (receipt.job, receipt.state, receipt.tries) == (RUN_ID, State.RUNNING, 1)
    assert receipts.read(run_dir) == receipt
    assert watching.lines == [f"{RUN_ID}: submitted"]


def test_a_job_that_runs_is_adopted(run_dir: Path, service: JobService) -> None:
    first, watching = submit_run(run_dir), Watching()
    assert submit_run(run_dir, watching) == first
    assert (len(service.requests), service.calls.count(CREATE)) == (1, 1)
    assert watching.lines == [f"{RUN_ID}: running already, from an earlier submission"]


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("InProgress", State.RUNNING),
        ("Stopping", State.RUNNING),
        ("Completed", State.SUCCEEDED),
        ("AStatusOfTheFuture", State.RUNNING),
    ],
)
def test_a_job_that_another_machine_submitted_is_adopted(
    run_dir: Path, service: JobService, status: str, state: State
) -> None:
    service.jobs[RUN_ID] = status
    receipt = submit_run(run_dir)
    assert (receipt.job, receipt.state) == (RUN_ID, state)
    assert service.requests == []


@pytest.mark.parametrize("status", ["Failed", "Stopped"])
def test_a_job_that_ended_badly_is_followed_by_another_with_a_name_of_its_own(
    run_dir: Path, service: JobService, status: str
) -> None:
    submit_run(run_dir)
    service.jobs[RUN_ID] = status
    receipt = submit_run(run_dir)
    assert (receipt.job, receipt.tries, receipt.state) == (f"{RUN_ID}-t2", 2, State.RUNNING)
    first, second = service.requests
    assert second == {**first, "TrainingJobName": f"{RUN_ID}-t2"}
    service.calls.clear()
    assert submit_run(run_dir) == receipt
    assert service.calls == [DESCRIBE]  # the receipt says with which try to begin


def test_tries_of_another_machine_are_counted(run_dir: Path, service: JobService) -> None:
    service.jobs |= {RUN_ID: "Failed", f"{RUN_ID}-t2": "Stopped"}
    receipt = submit_run(run_dir)
    assert (receipt.job, receipt.tries) == (f"{RUN_ID}-t3", 3)


def test_nothing_of_a_failed_try_is_said_of_the_next(run_dir: Path, service: JobService) -> None:
    submitted = submit_run(run_dir)
    receipts.write_json(
        run_dir / "receipt.json",
        {
            **receipts.as_json(submitted),
            "state": "failed",
            "exit_code": 3,
            "step": "train",
            "reason": "AlgorithmError",
            "usd": 1.5,
            "ended": 2.0,
        },
    )
    service.jobs[RUN_ID] = "Failed"
    receipt = submit_run(run_dir)
    assert (receipt.exit_code, receipt.step, receipt.reason, receipt.usd, receipt.ended) == (None, "", "", None, None)


# ---------------------------------------------------------------------------------------------- answers that got lost


@pytest.mark.parametrize("fault", [LOST, HANG], ids=["the connection breaks", "no answer comes"])
@pytest.mark.usefixtures("waited")
def test_a_job_whose_making_was_not_answered_is_found_to_be_there(
    run_dir: Path, service: JobService, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(aws, "READ_TIMEOUT_S", 1)
    service.faults[CREATE] = [fault]
    receipt = submit_run(run_dir)
    assert (receipt.job, receipt.state) == (RUN_ID, State.RUNNING)
    assert (len(service.requests), service.calls.count(CREATE)) == (1, 2)


@pytest.mark.usefixtures("waited")
def test_a_job_of_ones_own_that_failed_before_the_answer_came_is_not_made_again(
    run_dir: Path, service: JobService
) -> None:
    service.faults[CREATE], service.begins_as = [LOST], "Failed"
    receipt = submit_run(run_dir)
    assert (receipt.job, receipt.state, list(service.jobs)) == (RUN_ID, State.FAILED, [RUN_ID])


def test_a_submission_that_was_killed_after_its_job_was_made_is_taken_up(run_dir: Path, service: JobService) -> None:
    service.faults[CREATE] = [HANG]
    killed = start(run_dir, service.environment())
    until(lambda: service.jobs)
    killed.kill()
    killed.wait()
    assert receipts.read(run_dir) is None
    assert submit_run(run_dir).job == RUN_ID
    assert len(service.requests) == 1


def test_a_refusal_leaves_no_receipt(run_dir: Path, service: JobService) -> None:
    service.faults[CREATE] = [Refusal(code="ValidationException", message="no")]
    refused(run_dir)
    assert receipts.read(run_dir) is None
    assert submit_run(run_dir).tries == 1


# ----------------------------------------------------------------------------------------------------- two at once


def test_two_machines_that_submit_at_once_make_one_job(tmp_path: Path, service: JobService) -> None:
    service.creating = threading.Barrier(2)  # both have looked by then, and found nothing
    both = [start(make_run(tmp_path / name), service.environment()) for name in ("one", "two")]
    said = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert [out.splitlines()[-1] for out, _ in said] == [f"{RUN_ID} running"] * 2
    assert (len(service.requests), list(service.jobs)) == (1, [RUN_ID])


def test_the_second_submission_of_one_machine_waits_for_the_first(run_dir: Path, service: JobService) -> None:
    service.creating = threading.Barrier(2)  # the first process, and this test
    first = start(run_dir, service.environment())
    until(lambda: service.creating and service.creating.n_waiting == 1)
    second = start(run_dir, service.environment())
    assert second.stdout is not None
    assert second.stdout.readline() == "waiting: another submission of this run is under way\n"
    service.creating.wait(30)
    assert first.communicate(timeout=60)[0].splitlines()[-1] == f"{RUN_ID} running"
    assert second.communicate(timeout=60)[0].splitlines()[-1] == f"{RUN_ID} running"
    assert service.calls == [DESCRIBE, CREATE, DESCRIBE]


# --------------------------------------------------------------------------------------------------------- refusals


def test_throttling_is_waited_out_with_jitter(run_dir: Path, service: JobService, waited: list[float]) -> None:
    service.faults[CREATE] = [THROTTLED] * 5
    assert submit_run(run_dir).job == RUN_ID
    # The n-th wait is a random share of 2ⁿ s, at most 20: two of five alike are no jitter.
    assert len(set(waited)) == len(waited) == 5
    assert all(seconds <= min(2**number, 20) for number, seconds in enumerate(waited))


@pytest.mark.usefixtures("waited")
def test_throttling_that_does_not_end_is_given_up(run_dir: Path, service: JobService) -> None:
    service.faults[CREATE] = [THROTTLED] * 100
    error = refused(run_dir)
    assert error.exit_code is ExitCode.REMOTE_REFUSED
    assert "sagemaker:CreateTrainingJob was refused: ThrottlingException: Rate exceeded." in str(error)
    assert service.calls.count(CREATE) == aws.ATTEMPTS
    assert receipts.read(run_dir) is None


def test_a_quota_comes_with_what_to_do(run_dir: Path, service: JobService) -> None:
    message = (
        "The account-level service limit 'ml.p4d.24xlarge for training job usage' is 0 Instances, with current "
        "utilization of 0 Instances and a request delta of 1 Instances."
    )
    service.faults[CREATE] = [Refusal(code="ResourceLimitExceeded", message=message)]
    error = refused(run_dir)
    assert error.exit_code is ExitCode.REMOTE_REFUSED
    assert message in str(error)
    assert "Service Quotas" in str(error)
    assert "smtrain doctor" in str(error)


def test_other_refusals_are_in_the_words_of_aws(run_dir: Path, service: JobService) -> None:
    message = "Could not assume role arn:aws:iam::123456789012:role/smtrain. Please ensure that the role exists"
    service.faults[CREATE] = [Refusal(code="ValidationException", message=message)]
    error = refused(run_dir)
    assert str(error) == f"sagemaker:CreateTrainingJob was refused: ValidationException: {message}."
    assert error.exit_code is ExitCode.REMOTE_REFUSED


@pytest.mark.parametrize("operation", [CREATE, DESCRIBE])
def test_a_permission_that_is_missing_is_named(run_dir: Path, service: JobService, operation: str) -> None:
    service.faults[operation] = [Refusal(code="AccessDeniedException", message="User … is not authorized")]
    error = refused(run_dir)
    assert f"Allow sagemaker:{operation} to whoever runs smtrain" in str(error)
    assert service.jobs == {}


def test_a_name_too_long_for_another_try_is_said_before_anything_is_made(tmp_path: Path, service: JobService) -> None:
    run_dir = make_run(tmp_path, run_id="n" * 61)
    assert submit_run(run_dir).job == "n" * 61
    service.jobs["n" * 61] = "Failed"
    error = refused(run_dir)
    assert "has 64 characters, of which the target takes 63" in str(error)
    assert error.problems[0].key == "name"
    assert len(service.requests) == 1


@pytest.mark.slow
def test_an_uploaded_file_is_there_before_the_job_is_made_and_sent_once(
    run_dir: Path, service: JobService, tmp_path: Path
) -> None:
    from s3_server import client_environment, needs
    from s3_server import serve as serve_s3
    from s3_wire import wire_to

    needs("weed")
    folder = tmp_path / "weed"
    folder.mkdir()
    with serve_s3(folder) as s3, wire_to(s3.endpoint) as wire:
        s3.client().create_bucket(Bucket="bucket1")
        env = {**service.environment(), "AWS_ENDPOINT_URL_S3": client_environment(wire.endpoint)["AWS_ENDPOINT_URL_S3"]}
        service.creating = threading.Barrier(2)
        killed = start(run_dir, env, "--upload")
        until(lambda: service.creating and service.creating.n_waiting == 1)
        assert wire.puts() == ["bucket1/store/abc/train.py"]
        killed.kill()
        killed.wait()
        service.creating.abort()
        service.creating = None
        assert receipts.read(run_dir) is None
        wire.clear()
        again = start(run_dir, env, "--upload")
        assert again.communicate(timeout=60)[0].splitlines() == [
            "s3://bucket1/store/abc/: 1 file there already",
            f"{RUN_ID}: submitted",
            f"{RUN_ID} running",
        ]
        assert (wire.sent, len(service.requests)) == (0, 1)
