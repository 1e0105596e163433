"""Every mistake is one clear problem, at the key that made it, before anything is sent."""

from __future__ import annotations

from pathlib import Path

import pytest
from eks_jobs import FSX, KUBEFLOW, errors, warnings

ELASTIC = "++backend.elastic={{min_nodes: {}, max_nodes: {}{}}}"
TWO = ("compute.nodes=2",)


@pytest.mark.parametrize(
    ("overrides", "key", "told"),
    [
        (("name=My-Run",), "name", "name=my-run"),
        (("name=7seas",), "name", "name=run-7seas"),
        (("name=a234567890123456789012345678901234567890",), "name", "38"),
        (("backend.image='no image'",), "backend.image", "names no image"),
        (("backend.image=''",), "backend.image", "names no image"),
        (("compute.instance_type=ml.p4d.25xlarge",), "compute.instance_type", "Did you mean"),
        (("compute.instance_type=p4d.24xlarge",), "compute.instance_type", "ml.p4d.24xlarge"),
        (("compute.instance_type=null", "compute.gpus_per_node=8"), "compute.instance_type", "No instance type"),
        ((KUBEFLOW, "backend.hyperpod=false"), "compute.instance_type", "p4d.24xlarge"),
        (("compute.gpus_per_node=16",), "compute.gpus_per_node", "8 GPUs"),
        (("++backend.efa=8",), "backend.efa", "at most 4"),
        (("++backend.efa=-1",), "backend.efa", "-1"),
        (("++backend.vcpus=500",), "backend.vcpus", "96"),
        (("++backend.memory_gib=5000",), "backend.memory_gib", "1152"),
        (("++backend.hugepages_mib=5120",), "backend.hugepages_mib", "memory"),
        (("backend.hyperpod=false", "compute.instance_type=p4d.24xlarge"), "backend.operator", "kubeflow"),
        (("backend.namespace=Team_A",), "backend.namespace", "DNS label"),
        (("backend.service_account='a b'",), "backend.service_account", "no name"),
        (("backend.pull_secrets=['Registry!']",), "backend.pull_secrets", "Registry!"),
        (("++backend.labels={a/b/c: d}",), "backend.labels.a/b/c", "no key"),
        (("++backend.labels={team: 'a b'}",), "backend.labels.team", "no value"),
        (("++backend.node_selector={zone: 'a/b'}",), "backend.node_selector.zone", "no value"),
        (("backend.tolerations=[{key: 'a b'}]",), "backend.tolerations", "no key of a taint"),
        (("backend.tolerations=[{value: x}]",), "backend.tolerations", "no key is named"),
        (("backend.kueue.priority=high",), "backend.kueue.priority", "backend.kueue.queue"),
        (("backend.kueue.queue='my queue'",), "backend.kueue.queue", "label"),
        (("backend.kueue.queue=q", "backend.kueue.required_topology='a b'"), "backend.kueue.required_topology", "key"),
        (
            ("backend.kueue.queue=q", "backend.kueue.required_topology=a", "backend.kueue.preferred_topology=b"),
            "backend.kueue.preferred_topology",
            "either",
        ),
        (("++backend.spares=1",), "backend.spares", "Kueue"),
        ((ELASTIC.format(3, 2, ""),), "backend.elastic.min_nodes", "above the most"),
        ((ELASTIC.format(2, 4, ""),), "compute.nodes", "begins with 1"),
        ((*TWO, ELASTIC.format(1, 4, ", step: 1, values: [2, 4]")), "backend.elastic.step", "`step` or `values`"),
        ((*TWO, ELASTIC.format(1, 5, ", step: 2")), "backend.elastic.step", "never reached"),
        ((*TWO, ELASTIC.format(1, 4, ", values: [2, 8]")), "backend.elastic.values", "8"),
        ((*TWO, ELASTIC.format(1, 4, ", values: [1, 4]")), "compute.nodes", "1, 4"),
        ((KUBEFLOW, *TWO, ELASTIC.format(1, 4, "")), "backend.elastic", "fixed ranks"),
        ((KUBEFLOW, "++backend.log_rules.hang={pattern: step, every_s: 60}"), "backend.log_rules", "hyperpod"),
        (("++backend.log_rules.hang={pattern: '(', every_s: 60}",), "backend.log_rules.hang.pattern", "expression"),
        (("++backend.log_rules.hang={pattern: s, threshold: 1}",), "backend.log_rules.hang", "operator"),
        (("++backend.restarts.policy=OnFailure",), "backend.restarts.policy", "kubeflow"),
        ((KUBEFLOW, "++backend.restarts.max_full=1"), "backend.restarts.max_full", "hyperpod"),
        (("storage.output=null",), "storage.output", "results"),
        (("storage.output=s3://Bad_Bucket/x",), "storage.output", "Bad_Bucket"),
        (("storage.output=/fsx/runs",), "storage.output", "No volume"),
        (("storage.output=results",), "storage.output", "neither"),
        (
            ("++backend.volumes.fsx={path: /fsx, claim: c, read_only: true}", "storage.output=/fsx/r"),
            "storage.output", "read-only",
        ),
        (("++backend.volumes.Fsx={path: /fsx, claim: c}",), "backend.volumes.Fsx", "DNS label"),
        (("++backend.volumes.fsx={path: /fsx}",), "backend.volumes.fsx", "`claim` or `host_path`"),
        (("++backend.volumes.fsx={path: /fsx, claim: c, host_path: /x}",), "backend.volumes.fsx", "both"),
        (("++backend.volumes.fsx={path: /opt/smtrain, claim: c}",), "backend.volumes.fsx.path", "overlaps"),
        (("++backend.volumes.fsx={path: /scratch, claim: c}",), "backend.volumes.fsx.path", "overlaps"),
        (("++backend.volumes.fsx={path: /a/../b, claim: c}",), "backend.volumes.fsx.path", "mounted"),
        (("++backend.volumes.fsx={path: /fsx, claim: c, sub_path: ../x}",), "backend.volumes.fsx.sub_path", "inside"),
        (("backend.scratch.host_path=/nvme", "backend.scratch.size_gib=10"), "backend.scratch.size_gib", "limited"),
        (("++backend.secrets.HF_TOKEN=hub",), "backend.secrets.HF_TOKEN", "SECRET/KEY"),
        (("++backend.secrets.HF_TOKEN=Hub/token",), "backend.secrets.HF_TOKEN", "SECRET/KEY"),
        (("++backend.secrets.RANK=hub/token",), "backend.secrets.RANK", "Rename"),
        (("++backend.environment.SMTRAIN_WORK=x",), "backend.environment.SMTRAIN_WORK", "Rename"),
        (("++backend.environment.A=x", "++backend.secrets.A=s/k"), "backend.environment.A", "at once"),
        (("++backend.secrets.A=s/k", "++secrets.A=ssm:/a"), "secrets.A", "elsewhere"),
        (("backend.source_dir=no/such/folder",), "backend.source_dir", "no/such/folder"),
        (("backend.install.index_url=https://me:pw@index/simple",), "backend.install.index_url", "password"),
        (("backend.oprator=kubeflow",), "backend.oprator", "operator"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_clear_problem(overrides: tuple[str, ...], key: str, told: str) -> None:
    found = errors("strategy=ddp", *overrides)
    assert [problem.key for problem in found] == [key]
    assert told in f"{found[0].what}\n{found[0].fix}"
    assert found[0].fix
    assert found[0].where is not None


def test_a_model_of_this_machine_is_refused_with_the_command_that_moves_it(tiny_model: Path) -> None:
    found = errors("strategy=ddp", f"model.path={tiny_model}")
    assert [problem.key for problem in found] == ["model.path"]
    assert f"s5cmd cp '{tiny_model}/*' s3://" in found[0].fix


def test_a_model_on_a_volume_is_taken_in_place_and_one_elsewhere_is_doubted() -> None:
    assert "model.path" not in warnings("strategy=ddp", FSX, "model.path=target:/fsx/models/base")
    assert "No volume" in warnings("strategy=ddp", FSX, "model.path=target:/other/base")["model.path"]


def test_a_secret_of_this_machine_is_warned_of_and_one_of_the_cluster_is_not() -> None:
    assert "secrets.HF_TOKEN" in warnings("strategy=ddp", "++secrets.HF_TOKEN=env:HF_TOKEN")
    words = ("strategy=ddp", "++secrets.HF_TOKEN=env:HF_TOKEN", "++backend.secrets.HF_TOKEN=hub/token")
    assert "secrets.HF_TOKEN" not in warnings(*words)


def test_what_will_work_but_may_not_be_meant_is_warned_of() -> None:
    assert "latest" in warnings("strategy=ddp", "backend.image=registry/train")["backend.image"]
    assert "backend.environment.HF_TOKEN" in warnings("strategy=ddp", "++backend.environment.HF_TOKEN=x")
    told = warnings("strategy=ddp", "backend.restarts.max=2", "backend.checkpoints.upload=false")
    assert "begins from the start" in told["backend.restarts.max"]
    assert "samples" in warnings("strategy=ddp", *TWO, ELASTIC.format(1, 4, ""))["backend.elastic"]


def test_deepspeed_is_not_elastic() -> None:
    (problem,) = errors("strategy=zero2", *TWO, ELASTIC.format(1, 4, ""))
    assert problem.key == "backend.elastic"
    assert "strategy=fsdp" in problem.fix


def test_all_mistakes_are_told_at_once() -> None:
    keys = {problem.key for problem in errors("strategy=ddp", "name=A-b", "++backend.efa=99", "backend.namespace=X")}
    assert keys == {"name", "backend.efa", "backend.namespace"}
