"""A job is given to the cluster once: its ConfigMaps first, then itself, which then owns them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cluster_in_files import Cluster, cluster
from eks_jobs import FSX, KUBEFLOW, write
from smtrain_hyperpod.eks.backend import EksBackend
from submitting import Watching

from smtrain.errors import SmtrainError
from smtrain.spec import Json, Receipt, State

__all__ = ["cluster"]
pytestmark = pytest.mark.needs_program("kubectl")


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    bundle = write(tmp_path / "run", "strategy=ddp", KUBEFLOW, FSX, "storage.output=/fsx/runs")
    name = json.loads((bundle / "submission.json").read_text())["config_maps"][0]
    return (tmp_path / "run").rename(tmp_path / name)


def submit(run_dir: Path, receipt: Receipt | None = None) -> Receipt:
    document: Json = json.loads((run_dir / "bundle" / "submission.json").read_text())
    first = Receipt(run_id=run_dir.name, backend="hyperpod_eks", state=State.RUNNING)
    return EksBackend().hand_over(run_dir, document, receipt or first, observer=Watching())


def applied(cluster: Cluster) -> list[list[dict[str, Json]]]:
    lines = (cluster.folder / "applied").read_text().splitlines()
    return [json.loads(line)["items"] for line in lines if line]


def verbs(cluster: Cluster) -> list[str]:
    return [call.partition(" ")[0] for call in cluster.calls()]


def test_the_config_maps_are_there_before_the_job_and_are_its_own_after(cluster: Cluster, run_dir: Path) -> None:
    receipt = submit(run_dir)
    assert (receipt.job, receipt.tries, receipt.state) == (run_dir.name, 1, State.RUNNING)
    assert verbs(cluster) == ["get", "kustomize", "apply", "create", "apply"]
    before, after = applied(cluster)
    # kustomize sorts them, and which is first depends on the run's digest.
    names = {str(each["metadata"]["name"]) for each in before}  # type: ignore[index, call-overload]
    assert run_dir.name in names
    assert any(name.startswith("smtrain-agent-") for name in names)
    owner = {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "name": run_dir.name, "uid": "uid-1"}
    assert all(each["metadata"]["ownerReferences"] == [owner] for each in after)  # type: ignore[index, call-overload]
    assert all("--field-manager=smtrain-" + run_dir.name in call for call in cluster.calls() if "apply" in call)


def test_a_job_that_is_there_is_not_made_again(cluster: Cluster, run_dir: Path) -> None:
    first = submit(run_dir)
    cluster.say_job("Created", "Running")
    assert submit(run_dir, first) == first
    assert verbs(cluster).count("create") == 1


def test_another_try_has_a_name_of_its_own_and_the_files_of_the_first(cluster: Cluster, run_dir: Path) -> None:
    name = run_dir.name
    cluster.say(f"pytorchjobs.kubeflow.org.{name}", {"status": {"conditions": [{"type": "Failed", "status": "True"}]}})
    receipt = submit(run_dir)
    assert (receipt.job, receipt.tries) == (f"{name}-t2", 2)
    made = json.loads((cluster.folder / "created").read_text())
    assert made["metadata"]["name"] == f"{name}-t2"
    template = made["spec"]["pytorchReplicaSpecs"]["Master"]["template"]
    assert template["metadata"]["labels"]["app.kubernetes.io/instance"] == f"{name}-t2"
    assert template["spec"]["volumes"][0]["projected"]["sources"][0]["configMap"]["name"] == name


def test_a_job_that_is_refused_leaves_no_config_map_of_its_own_and_those_that_are_shared(
    cluster: Cluster, run_dir: Path
) -> None:
    (cluster.folder / "refusal").write_text('Error from server (Forbidden): pytorchjobs is forbidden: User "joe"\n')
    with pytest.raises(SmtrainError) as raised:
        submit(run_dir)
    assert "You may not do this" in raised.value.problems[0].what
    (deleted,) = [call for call in cluster.calls() if call.startswith("delete")]
    assert run_dir.name in deleted
    assert "smtrain-agent-" not in deleted
