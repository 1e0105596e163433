"""Fixtures: an AWS account on loopback with HyperPod clusters, a folder with a base configuration, and the command."""

from __future__ import annotations

import os

import pytest
from cluster_folder import BUCKET, CONFIG
from commands import Answer

from smtrain.aws import client as aws
from smtrain.cli import main


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """The endpoint, of the module's own, with one bucket."""
    pytest.importorskip("moto.server", reason="moto[server] is not installed")
    from cluster_service import ClusterService

    with ClusterService(tmp_path_factory.mktemp("clusters")) as up:
        up.client("s3").create_bucket(Bucket=BUCKET)
        yield up


@pytest.fixture(scope="module")
def environment(service):
    """Has everything in this process take the endpoint for AWS; clients are opened once a module, which takes long."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in service.environment().items():
            patch.setenv(name, value)
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            patch.setenv(name, os.devnull)
        patch.delenv("AWS_PROFILE", raising=False)
        aws._session.cache_clear()
        yield
        aws._session.cache_clear()


@pytest.fixture
def account(service, environment):
    """The endpoint, with nothing in short supply."""
    yield service
    service.capacity.clear()
    service.fail_next = ""


@pytest.fixture
def here(tmp_path, monkeypatch, request):
    """The current folder, with `base`, which stands for AWS's base configuration, and the choice `cluster=mine`."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "on_create.sh").write_text("#!/bin/bash\nset -e\npython3 lifecycle_script.py\n")
    (tmp_path / "base" / "lifecycle_script.py").write_text('print("starts Slurm")\n')
    (tmp_path / "conf" / "cluster").mkdir(parents=True)
    # A name of the test's own: the endpoint is the module's.
    name = "".join(char if char.isalnum() else "-" for char in request.node.name.removeprefix("test_"))[-40:].strip("-")
    (tmp_path / "conf" / "cluster" / "mine.yaml").write_text(CONFIG.replace("NAME", name))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cluster(here, capsys):
    """Calls `smtrain cluster VERB … cluster=mine` in this process; what is waited for is looked at often."""

    def call(verb, *words, config=("--config-dir", "conf", "cluster=mine")):
        waits = ("--poll", "0.01") if verb in ("create", "status", "scale", "update", "delete") else ()
        code = main(("cluster", verb, *words, *config, *waits))
        captured = capsys.readouterr()
        return Answer(code=code, out=captured.out, err=captured.err)

    return call
