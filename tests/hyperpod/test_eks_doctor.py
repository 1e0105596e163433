"""The doctor says of everything that a job needs in the cluster whether it is there, and what to do if not."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import pytest
from cluster_in_files import Cluster, cluster
from eks_jobs import FSX, compiled
from smtrain_hyperpod.eks.backend import EksBackend
from smtrain_hyperpod.eks.options import EksOptions

from smtrain.remote_interfaces import Finding

__all__ = ["cluster"]

JOB = (
    "strategy=ddp", FSX, "compute.nodes=2", "++backend.namespace=team", "backend.pull_secrets=[registry]",
    "++backend.secrets.TOKEN=hub/token", "backend.kueue.queue=queue", "backend.kueue.priority=high",
)  # fmt: skip


def findings() -> Mapping[str, list[Finding]]:
    """Returns what the doctor finds, by subject."""
    job = compiled(*JOB)
    options = job.job.run.backend.options
    assert isinstance(options, EksOptions)
    found: dict[str, list[Finding]] = {}
    for finding in EksBackend().diagnose(job.job, job.bundle, options):
        found.setdefault(finding.subject, []).append(finding)
    return found


def node(*, ready: bool = True, gpus: str = "8", kind: str = "ml.p4d.24xlarge") -> dict[str, object]:
    return {
        "metadata": {"labels": {"node.kubernetes.io/instance-type": kind}},
        "spec": {},
        "status": {
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "allocatable": {"nvidia.com/gpu": gpus},
        },
    }


@pytest.fixture
def whole(cluster: Cluster) -> Cluster:
    """A cluster that has all that the job needs."""
    (cluster.folder / "api-resources").write_text("hyperpodpytorchjobs.sagemaker.amazonaws.com\n")
    cluster.say("namespace.team", {"kind": "Namespace"})
    cluster.say("nodes", {"items": [node(), node()]})  # type: ignore[dict-item, list-item]
    cluster.say("persistentvolumeclaim.fsx-claim", {"status": {"phase": "Bound"}})
    cluster.say("secret.registry", {"type": "kubernetes.io/dockerconfigjson"})
    cluster.say("secret.hub", {"data": {"token": base64.b64encode(b"sesame").decode()}})
    cluster.say("serviceaccount.trainer", {"kind": "ServiceAccount"})
    cluster.say("localqueues.kueue.x-k8s.io.queue", {"kind": "LocalQueue"})
    cluster.say("workloadpriorityclasses.kueue.x-k8s.io.high", {"kind": "WorkloadPriorityClass"})
    return cluster


def test_a_cluster_that_has_everything_is_good(whole: Cluster) -> None:
    found = findings()
    subjects = {"cluster", "namespace", "operator", "rights", "nodes", "volume", "image", "secret", "service account"}
    assert set(found) == {*subjects, "queue"}
    assert [finding for each in found.values() for finding in each if finding.good is not True] == []
    assert "sesame" not in str(found)


def test_each_thing_that_is_missing_is_told_with_what_to_do(cluster: Cluster) -> None:
    (cluster.folder / "may-not").write_text("create hyperpodpytorchjobs.sagemaker.amazonaws.com\n")
    bad = {name: each for name, each in findings().items() if name != "cluster"}
    for name, each in bad.items():
        assert all(finding.good is False and finding.fix for finding in each), name
    assert "does not know HyperPodPyTorchJob" in bad["operator"][0].what
    assert "create hyperpodpytorchjobs" in bad["rights"][0].what
    assert "no secret registry to pull the image" in bad["image"][0].what
    assert len(bad["queue"]) == 2


@pytest.mark.parametrize(
    ("name", "document", "subject", "told"),
    [
        ("nodes", {"items": [node(), node(ready=False)]}, "nodes", "has 1 that are ready, of 2"),
        ("nodes", {"items": [node(), node(gpus="0")]}, "nodes", "1 of them offer fewer than 8 nvidia.com/gpu"),
        ("persistentvolumeclaim.fsx-claim", {"status": {"phase": "Lost"}}, "volume", "is Lost"),
        ("secret.registry", {"type": "Opaque"}, "image", "of type Opaque"),
        ("secret.hub", {"data": {"other": "eA=="}}, "secret", "has no key token; it has other"),
        ("secret.hub", {"data": {"token": ""}}, "secret", "is empty"),
    ],
)
def test_what_is_there_but_not_as_it_must_be_is_told(
    name: str, document: dict[str, object], subject: str, told: str, whole: Cluster
) -> None:
    whole.say(name, document)  # type: ignore[arg-type]
    bad = [finding for finding in findings()[subject] if finding.good is False]
    assert len(bad) == 1
    assert told in bad[0].what
