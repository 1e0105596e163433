from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import msgspec
import pytest
from job_service import JobService, Refusal, serve

from smtrain.aws import Client, RefusedError
from smtrain.aws import client as aws
from smtrain.errors import ExitCode, Problem, SmtrainError

ROOT = Path(__file__).parents[1]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[JobService]:
    pytest.importorskip("boto3", reason="boto3 is not installed; the extra `aws` brings it")
    with serve() as found:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        for name, value in found.environment().items():
            monkeypatch.setenv(name, value)
        aws._session.cache_clear()
        yield found
    aws._session.cache_clear()


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that boto3 would have waited between its tries, none of which it waits."""
    found: list[float] = []
    monkeypatch.setattr("botocore.endpoint.time.sleep", found.append)
    return found


def describe() -> None:
    Client("sagemaker").call("DescribeTrainingJob", TrainingJobName="probe")


def failure() -> SmtrainError:
    with pytest.raises(SmtrainError) as caught:
        describe()
    return caught.value


def test_importing_it_imports_no_boto3() -> None:
    source = "import sys, smtrain.aws, smtrain.passes.submit; print([name for name in sys.modules if 'boto' in name])"
    done = subprocess.run((sys.executable, "-c", source), capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_without_boto3_it_says_how_to_install_it(tmp_path: Path) -> None:
    # An interpreter without site-packages, to which the one package that smtrain needs so far was given.
    (tmp_path / "msgspec").symlink_to(Path(msgspec.__file__).parent)
    source = """\
from smtrain.aws import Client
try:
    Client("s3", "us-east-1")
except Exception as error:
    print(error)
    raise SystemExit(error.exit_code)
"""
    command = (sys.executable, "-S", "-c", source)
    env = {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        "boto3 is not installed, without which nothing can be asked of AWS.",
        "  Install it: pip install 'smtrain[aws]'",
    ], done.stderr
    assert done.returncode == ExitCode.MISSING_HERE


def test_a_refusal_keeps_what_aws_said(service: JobService) -> None:
    error = failure()
    assert isinstance(error, RefusedError)
    assert (error.error_code, error.message) == ("ValidationException", "Requested resource not found.")
    assert (error.operation, error.exit_code) == ("DescribeTrainingJob", ExitCode.REMOTE_REFUSED)
    assert str(error) == (
        "sagemaker:DescribeTrainingJob was refused: ValidationException: Requested resource not found."
    )


def raise_refused() -> None:
    raise RefusedError(Problem(key="k", what="w.", fix="f"), error_code="C", message="m", operation="O")


def test_a_refusal_survives_the_way_between_processes() -> None:
    with ProcessPoolExecutor(1) as pool, pytest.raises(RefusedError) as caught:
        pool.submit(raise_refused).result()
    error = caught.value
    assert (error.error_code, error.message, error.operation) == ("C", "m", "O")
    assert error.problems == (Problem(key="k", what="w.", fix="f"),)
    again = pickle.loads(pickle.dumps(error))
    assert (again.operation, str(again)) == ("O", str(error))


def test_without_credentials_it_says_how_to_give_them(
    service: JobService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))
    error = failure()
    assert error.exit_code is ExitCode.MISSING_HERE
    assert "Unable to locate credentials" in str(error)
    assert "AWS_PROFILE=NAME" in str(error)
    assert service.calls == []


def test_a_profile_that_does_not_exist_is_missing_here(service: JobService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "no-such")
    error = failure()
    assert error.exit_code is ExitCode.MISSING_HERE
    assert "no-such" in str(error)


def test_without_a_region_it_says_where_to_set_one(service: JobService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    error = failure()
    assert error.exit_code is ExitCode.MISSING_HERE
    assert "Say the region in the configuration, or set AWS_REGION." in str(error)


@pytest.mark.parametrize("code", ["ExpiredTokenException", "UnrecognizedClientException", "InvalidSignatureException"])
def test_credentials_that_are_no_good_are_missing_here(service: JobService, code: str) -> None:
    service.faults["DescribeTrainingJob"] = [Refusal(code=code, message="The security token is expired")]
    error = failure()
    assert error.exit_code is ExitCode.MISSING_HERE
    assert "aws sso login" in str(error)


def test_who_cannot_be_reached_is_tried_several_times_and_told_of(
    service: JobService, monkeypatch: pytest.MonkeyPatch, waited: list[float]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    error = failure()
    assert error.exit_code is ExitCode.REMOTE_REFUSED
    assert "Could not connect to the endpoint URL" in str(error)
    assert "Check the network" in str(error)
    assert len(waited) == aws.ATTEMPTS - 1


def test_a_request_that_boto3_finds_wrong_is_a_problem(service: JobService) -> None:
    with pytest.raises(SmtrainError, match="Unknown parameter in input") as caught:
        Client("sagemaker").call("DescribeTrainingJob", Colour="red", TrainingJobName="probe")
    assert caught.value.exit_code is ExitCode.BAD_CONFIG


def test_a_mistake_of_ours_is_not_taken_for_one_of_aws(service: JobService) -> None:
    with pytest.raises(AttributeError):
        Client("sagemaker").call("NoSuchOperation")
