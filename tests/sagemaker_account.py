"""Fixtures: an AWS account on loopback, with one bucket, whose training jobs really run."""

from __future__ import annotations

import os

import pytest
from plain_jobs import job_environment

from smtrain.aws import client as aws

BUCKET = "bucket"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """The endpoint, of the module's own, with one bucket."""
    pytest.importorskip("moto.server", reason="moto[server] is not installed")
    from sagemaker_service import SageMakerService

    folder = tmp_path_factory.mktemp("sagemaker")
    with SageMakerService(folder, grace_s=5, sync_every_s=0.1, job_environment=job_environment()) as up:
        up.client("s3").create_bucket(Bucket=BUCKET)
        yield up


@pytest.fixture
def account(service, monkeypatch):
    """The endpoint, which everything in this process now takes for AWS."""
    for name, value in service.environment().items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    aws._session.cache_clear()
    yield service
    aws._session.cache_clear()
