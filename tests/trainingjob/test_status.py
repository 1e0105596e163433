"""What a training job's description says, as a receipt: of jobs that really ran, and of words that SageMaker uses."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

pytest.importorskip("boto3", reason="boto3 is not installed")

from smtrain_trainingjob.following import status, submitted
from smtrain_trainingjob.following.price import usd_so_far
from smtrain_trainingjob.following.stop import stop
from submitted_runs import request_of, run_of
from submitted_runs import submitted as submit

from smtrain import receipts
from smtrain.errors import ExitCode, SmtrainError
from smtrain.spec import State

pytest_plugins = ("sagemaker_account",)


def wait_for_log(service, name, text):
    deadline = time.monotonic() + 60
    while not any(text in lines for lines in service.log(name).values()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_job_that_succeeded_has_its_end_and_its_cost(account, tmp_path):
    run_dir, receipt = submit(account, tmp_path, "good", usd_per_hour=3600.0)
    description = account.wait("good")
    now = status.status(run_dir, receipt)
    assert (now.state, now.exit_code, now.reason, now.job) == (State.SUCCEEDED, 0, "", "good")
    assert now.ended == description["TrainingEndTime"].timestamp()
    assert now.started == description["CreationTime"].timestamp()
    assert now.usd == pytest.approx(description["BillableTimeInSeconds"])
    assert now.step in ("Training", "Uploading")
    assert receipts.read(run_dir) == now


def test_a_job_that_failed_says_why_and_with_which_exit_code(account, tmp_path):
    run_dir, receipt = submit(account, tmp_path, "bad", "echo 'no more memory' >/opt/ml/output/failure; exit 7")
    account.wait("bad")
    now = status.status(run_dir, receipt)
    assert (now.state, now.exit_code) == (State.FAILED, 7)
    assert "no more memory" in now.reason


def test_a_job_is_stopped_after_it_had_its_time_to_save(account, tmp_path):
    script = "trap 'echo saving; exit 0' TERM; echo ready; while true; do sleep 0.1; done"
    run_dir, receipt = submit(account, tmp_path, "long", script)
    wait_for_log(account, "long", "ready")
    going = status.status(run_dir, receipt)
    assert (going.state, going.step, going.ended, going.exit_code) == (State.RUNNING, "Training", None, None)
    assert going.usd > 0
    ended = stop(run_dir, going, poll_s=0.1)
    assert (ended.state, ended.exit_code) == (State.STOPPED, None)
    assert "saving" in account.log("long")["algo-1"]
    assert stop(run_dir, ended) == ended  # what has ended is left alone


def test_stopping_what_has_just_ended_tells_how(account, tmp_path):
    run_dir, receipt = submit(account, tmp_path, "short")
    account.wait("short")
    assert stop(run_dir, receipt, poll_s=0.1).state is State.SUCCEEDED


def test_stopping_comes_back_when_the_job_takes_too_long(account, tmp_path):
    script = f"trap '' TERM; echo ready; until [[ -e {tmp_path}/go ]]; do sleep 0.1; done"
    run_dir, receipt = submit(account, tmp_path, "deaf", script)
    wait_for_log(account, "deaf", "ready")
    assert stop(run_dir, receipt, wait_s=0.2, poll_s=0.1).state is State.RUNNING
    (tmp_path / "go").touch()
    account.wait("deaf")


def test_a_job_that_is_not_there_is_lost(account, tmp_path):
    run_dir, receipt = run_of(tmp_path, request_of("never"))
    now = status.status(run_dir, receipt)
    assert now.state is State.LOST
    assert "no training job `never` in us-east-1" in now.reason


def test_what_has_ended_is_not_asked_about_again(account, tmp_path):
    run_dir, receipt = submit(account, tmp_path, "once")
    account.wait("once")
    ended = status.status(run_dir, receipt)
    asked = len(account.calls)
    assert status.status(run_dir, ended) == ended
    assert len(account.calls) == asked


def test_a_refusal_is_an_error_of_its_kind_and_the_receipt_stays(account, tmp_path):
    run_dir, receipt = run_of(tmp_path, request_of("refused"))
    account.refuse("DescribeTrainingJob", "AccessDeniedException", "You may not.")
    try:
        with pytest.raises(SmtrainError, match="AccessDenied") as raised:
            status.status(run_dir, receipt)
    finally:
        account.refuse("DescribeTrainingJob", None)
    assert raised.value.exit_code is ExitCode.REMOTE_REFUSED
    assert receipts.read(run_dir) is None


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"TrainingJobName": "x"}'])
def test_a_damaged_bundle_is_told_with_the_name_of_the_job(damage, tmp_path):
    run_dir, receipt = run_of(tmp_path, request_of("damaged"))
    (run_dir / "bundle" / "request.json").write_text(damage)
    with pytest.raises(SmtrainError, match="The job is `damaged`"):
        submitted.read(run_dir, receipt)


def test_hosts_of_all_groups_count(tmp_path):
    groups = [{"InstanceGroupName": name, "InstanceType": "ml.g5.xlarge", "InstanceCount": 2} for name in "ab"]
    request = request_of("groups", ResourceConfig={"InstanceGroups": groups, "VolumeSizeInGB": 30})
    assert submitted.read(*run_of(tmp_path, request)).hosts == 4


# ------------------------------------------------------------------------------------------------ SageMaker's own words


def described(tmp_path, **members):
    run_dir, receipt = run_of(tmp_path, request_of("described"))
    found = {"TrainingJobStatus": "Failed", "SecondaryStatus": "Failed", **members}
    return status.as_receipt(receipt, found, submitted.read(run_dir, receipt), now=1000.0)


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("AlgorithmError: , exit code: 1", 1),
        ('AlgorithmError: ExecuteUserScriptError:\nExitCode 137\nErrorMessage "exit code 1 of it"\n, exit code: 2', 2),
        ("AlgorithmError: ExecuteUserScriptError:\nExitCode 137", 137),
        ("CapacityError: Unable to provision requested ML compute capacity.", None),
        ("InternalServerError: We encountered an internal error. Please try again.", None),
        ("ClientError: 3 objects, exit codes unknown", None),
    ],
)
def test_the_exit_code_is_read_off_the_failure_reason(reason, code, tmp_path):
    now = described(tmp_path, FailureReason=reason)
    assert (now.exit_code, now.reason) == (code, reason)


@pytest.mark.parametrize(
    ("secondary", "words"),
    [("MaxRuntimeExceeded", "backend.max_run_s"), ("MaxWaitTimeExceeded", "backend.max_wait_s"), ("Stopped", "")],
)
def test_why_a_job_was_stopped_is_told(secondary, words, tmp_path):
    now = described(tmp_path, TrainingJobStatus="Stopped", SecondaryStatus=secondary)
    assert now.state is State.STOPPED
    assert words in now.reason
    assert bool(now.reason) == bool(words)


def test_the_stage_before_the_end_is_kept(tmp_path):
    stages = [{"Status": name, "StartTime": datetime.now(UTC)} for name in ("Starting", "Downloading", "Failed")]
    assert described(tmp_path, SecondaryStatusTransitions=stages).step == "Downloading"


@pytest.mark.parametrize("state", ["InProgress", "Stopping", "SomethingNew"])
def test_what_has_no_end_is_running(state, tmp_path):
    now = described(tmp_path, TrainingJobStatus=state, SecondaryStatus="Training")
    assert (now.state, now.step, now.ended) == (State.RUNNING, "Training", None)


def test_a_later_try_is_asked_about_by_its_own_name(tmp_path):
    run_dir, receipt = run_of(tmp_path, request_of("again"), job="again-t3", tries=3)
    job = submitted.read(run_dir, receipt)
    assert (job.job, job.names) == ("again-t3", ("again", "again-t2", "again-t3"))
    assert submitted.read(run_dir, replace(receipt, job="", tries=1)).job == "again"


# ------------------------------------------------------------------------------------------------------------ the cost


def at(second):
    return datetime.fromtimestamp(second, UTC)


@pytest.mark.parametrize(
    ("members", "usd"),
    [
        ({}, 0.0),  # still waiting for its hosts
        ({"TrainingStartTime": at(100)}, 9.0),  # 900 s at 36 $/h
        ({"TrainingStartTime": at(100), "TrainingEndTime": at(200)}, 1.0),
        # Spot: 900 s of training, of which 270 are billed.
        ({"TrainingStartTime": at(100), "TrainingTimeInSeconds": 900, "BillableTimeInSeconds": 270}, 2.7),
        ({"TrainingStartTime": at(2000)}, 0.0),  # the service's clock is ahead
    ],
)
def test_the_cost_is_the_billed_time_at_the_bundles_price(members, usd):
    assert usd_so_far(members, 36.0, now=1000.0) == pytest.approx(usd)


def test_without_a_price_nobody_knows_the_cost():
    assert usd_so_far({"BillableTimeInSeconds": 100}, None, now=0.0) is None
