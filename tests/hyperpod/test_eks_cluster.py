"""Against a real Kubernetes API: what is sent is taken, once, and what is refused is told with what to do.

There is none in CI. With SMTRAIN_TEST_KUBECONFIG=FILE, of a cluster that knows both kinds of jobs and runs none,
these tests run; docs/hyperpod-eks.md tells when they did, and on what.
"""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eks_jobs import IMAGE
from plain_trainer import plain_trainer

from smtrain import receipts
from smtrain.cli import main
from smtrain.spec import State

__all__ = ["plain_trainer"]

KUBECONFIG = os.environ.get("SMTRAIN_TEST_KUBECONFIG", "")
pytestmark = pytest.mark.skipif(not KUBECONFIG, reason="SMTRAIN_TEST_KUBECONFIG names no cluster")

KINDS = {"hyperpod": "hyperpodpytorchjobs.sagemaker.amazonaws.com", "kubeflow": "pytorchjobs.kubeflow.org"}
VOLUME = "++backend.volumes.fsx={path: /fsx, claim: fsx-claim}"


@pytest.fixture
def namespace(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("KUBECONFIG", KUBECONFIG)
    name = f"smtrain-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


def kubectl(*words: str, text: str | None = None) -> str:
    done = subprocess.run(("kubectl", *words), input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def found(namespace: str, *words: str) -> Any:
    return json.loads(kubectl("get", f"--namespace={namespace}", "--output=json", *words))


def words(namespace: str, operator: str = "hyperpod") -> tuple[str, ...]:
    return (
        "backend=hyperpod_eks", f"backend.image={IMAGE}", f"backend.namespace={namespace}", VOLUME,
        "storage.output=/fsx/runs", "compute.instance_type=ml.m5.4xlarge", "compute.accelerator=cpu",
        f"backend.operator={operator}", "compute.nodes=2", "strategy=ddp", "trainer=plain",
    )  # fmt: skip


def launch(*given: str) -> int:
    return main([*given, "--detach", "--yes"])


def only_run() -> Path:
    (run_dir,) = [path for path in Path("runs").iterdir() if not path.name.startswith(".")]
    return run_dir


def say(namespace: str, resource: str, name: str, *conditions: tuple[str, str]) -> None:
    """Says of a job what its operator would."""
    said = [{"type": kind, "status": holds, "message": f"it is {kind}"} for kind, holds in conditions]
    status = json.dumps({"status": {"conditions": said, "startTime": "2026-11-29T01:00:00Z"}})
    kubectl(
        "patch", resource, name, f"--namespace={namespace}", "--type=merge", "--subresource=status", f"--patch={status}"
    )


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain_trainer: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("operator", KINDS)
def test_a_job_is_made_once_with_config_maps_that_it_owns(operator: str, namespace: str) -> None:
    assert launch(*words(namespace, operator)) == 0
    (job,) = found(namespace, KINDS[operator])["items"]
    name = only_run().name
    assert job["metadata"]["name"] == name
    maps = {each["metadata"]["name"]: each for each in found(namespace, "configmaps")["items"]}
    ours = {label: each for label, each in maps.items() if label.startswith(("smtrain-agent-", name))}
    assert len(ours) == 2
    for each in ours.values():
        (owner,) = each["metadata"]["ownerReferences"]
        assert owner["uid"] == job["metadata"]["uid"]
    assert launch("submit", str(only_run())) == 0
    assert len(found(namespace, KINDS[operator])["items"]) == 1


@pytest.mark.parametrize("operator", KINDS)
def test_a_job_that_failed_is_told_and_tried_again_under_a_name_of_its_own(
    operator: str, namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    launch(*words(namespace, operator))
    name, resource = only_run().name, KINDS[operator]
    say(namespace, resource, name, ("Created", "True"), ("Running", "True"))
    capsys.readouterr()
    assert main(["status", name]) == 0
    told = capsys.readouterr().out
    assert "running" in told
    assert "Running" in told
    say(namespace, resource, name, ("Running", "False"), ("Failed", "True"))
    main(["status", name])
    told = capsys.readouterr().out
    assert "failed" in told
    assert "it is Failed" in told
    launch("submit", str(only_run()))
    jobs = {job["metadata"]["name"]: job for job in found(namespace, resource)["items"]}
    assert set(jobs) == {name, f"{name}-t2"}
    again = jobs[f"{name}-t2"]
    assert again["metadata"]["labels"]["app.kubernetes.io/instance"] == f"{name}-t2"
    assert f'"app.kubernetes.io/instance": "{name}-t2"' in json.dumps(again["spec"])
    owners = found(namespace, "configmap", name)["metadata"]["ownerReferences"]
    assert {owner["name"] for owner in owners} == {name, f"{name}-t2"}


def test_a_job_that_is_stopped_is_gone_and_one_that_somebody_deleted_is_lost(namespace: str) -> None:
    launch(*words(namespace))
    run_dir = only_run()
    assert main(["stop", run_dir.name]) == 0
    assert found(namespace, KINDS["hyperpod"])["items"] == []
    receipt = receipts.read(run_dir)
    assert receipt is not None
    assert receipt.state is State.STOPPED
    launch("submit", str(run_dir))
    (job,) = found(namespace, KINDS["hyperpod"])["items"]
    kubectl("delete", KINDS["hyperpod"], job["metadata"]["name"], f"--namespace={namespace}")
    main(["status", run_dir.name])
    receipt = receipts.read(run_dir)
    assert receipt is not None
    assert receipt.state is State.LOST


def test_a_namespace_that_is_not_there_is_told(namespace: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert launch(*words("no-such-namespace")) == 5
    told = capsys.readouterr().err
    assert "no namespace `no-such-namespace`" in told
    assert "kubectl get namespaces" in told


def test_the_doctor_says_what_is_missing(namespace: str, capsys: pytest.CaptureFixture[str]) -> None:
    kubectl("create", "secret", "generic", "hub", "--from-literal=token=sesame", f"--namespace={namespace}")
    more = ("backend.pull_secrets=[registry]", "++backend.secrets={A: hub/token, B: hub/other, C: absent/key}")
    main(["doctor", *words(namespace), *more, "backend.service_account=trainer"])
    told = capsys.readouterr().out
    assert "The cluster knows HyperPodPyTorchJob" in told
    assert "You may submit, follow and stop jobs" in told
    assert "There is no claim fsx-claim" in told
    assert "There is no secret registry to pull the image with" in told
    assert "A is taken from hub/token" in told
    assert "Secret hub has no key other; it has token" in told
    assert "There is no secret absent" in told
    assert "no node that is node.kubernetes.io/instance-type=ml.m5.4xlarge" in told
    assert "sesame" not in told
