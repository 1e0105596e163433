"""Fixtures: an AWS account on loopback that runs the jobs of the plain trainer, and the command that sends them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from commands import Answer, Smtrain
from plain_jobs import BUCKET, job_environment

from smtrain.cli import main

if TYPE_CHECKING:
    from sagemaker_service import SageMakerService


@pytest.fixture(scope="module")
def sagemaker_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SageMakerService]:
    """SageMaker, with a bucket."""
    pytest.importorskip("boto3", reason="boto3 is not installed")
    pytest.importorskip("moto.server", reason="moto[server] is not installed")
    from sagemaker_service import SageMakerService

    folder = tmp_path_factory.mktemp("sagemaker")
    with SageMakerService(folder, grace_s=15, sync_every_s=0.1, job_environment=job_environment()) as up:
        up.client("s3").create_bucket(Bucket=BUCKET)
        yield up


@pytest.fixture
def sagemaker(sagemaker_endpoint: SageMakerService, monkeypatch: pytest.MonkeyPatch) -> Iterator[SageMakerService]:
    """The endpoint, which this process and those that it starts take for AWS."""
    from smtrain.aws import client as aws

    for name, value in sagemaker_endpoint.environment().items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.delenv("CI", raising=False)
    aws._session.cache_clear()
    yield sagemaker_endpoint
    aws._session.cache_clear()


@pytest.fixture
def smtrain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Smtrain:
    """The command, in this process, in an empty folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def call(*words: str) -> Answer:
        capsys.readouterr()
        code = main(words)
        captured = capsys.readouterr()
        return Answer(code=code, out=captured.out, err=captured.err)

    return call


@pytest.fixture
def words(sagemaker: SageMakerService) -> tuple[str, ...]:
    """The overrides of a job of one host."""
    return (
        *("backend=trainingjob", "trainer=plain", "model.path=ORG/NAME", f"backend.role={sagemaker.role}"),
        *("backend.region=us-east-1", "compute.instance_type=ml.m5.large", "storage.output=s3://bucket/runs"),
        *("backend.checkpoints.interval_s=1", "backend.grace_s=10", "++launcher.kind=torchrun"),
    )
