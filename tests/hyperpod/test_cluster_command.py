"""`smtrain cluster plan` as a person uses it: located problems, the same bytes anywhere, no network, one question."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cluster_folder import edit
from commands import COMMAND, smtrain
from terminal import on_terminal

from smtrain.testing import compile_overrides

pytest_plugins = ("cluster_account",)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_plan_writes_what_create_would_send_and_says_how(here, cluster):
    answer = cluster("plan")
    assert answer.code == 0, answer.err
    (bundle,) = (here / "clusters").glob("*/bundle")
    assert {"request.json", "manifest.json", "lifecycle/provisioning_parameters.json"} <= set(contents(bundle))
    assert f"Create it: smtrain cluster create --dir {bundle.parent.relative_to(here)}\n" in answer.out
    assert "workers: 2 × ml.g5.12xlarge, partition gpu, 4 A10G each" in answer.out


def test_problems_are_all_told_at_once_each_where_it_was_said(here, cluster):
    edit(here, "count: 2", "count: 2, threads_per_core: 3")
    answer = cluster(
        "plan", "cluster.role=nobody", "cluster.nmae=x", "clutser.name=y", "cluster.groups.workers.kind=login"
    )
    assert answer.code == 2
    for said in (
        "conf/cluster/mine.yaml:10: cluster.groups.workers.threads_per_core: `3` is not one of `1`, `2`.",
        "override `cluster.role=nobody`: cluster.role: ",
        "override `cluster.nmae=x`: cluster.nmae: Unknown key.",
        "override `clutser.name=y`: clutser: Unknown key.",
        "conf/cluster/mine.yaml:10: cluster.groups.workers.partition: Partitions have nodes of compute groups",
    ):
        assert said in answer.err
    assert not (here / "clusters").exists()


@pytest.mark.parametrize("choice", ["slurm", "slurm_api", "eks"])
def test_a_shipped_choice_asks_for_what_it_leaves_out(choice, here, cluster):
    answer = cluster("plan", config=(f"cluster={choice}",))
    assert answer.code == 2
    for key in ("name", "region", "role"):
        assert f"conf/cluster/{'eks' if choice == 'eks' else 'slurm'}.yaml:" in answer.err
        assert f"cluster.{key}: A value is required." in answer.err


@pytest.mark.parametrize("topology", ["slurm_api", "eks"])
def test_a_shipped_choice_needs_little_more(topology, here, cluster):
    words = [
        "cluster.name=ml",
        "cluster.region=us-west-2",
        "cluster.role=arn:aws:iam::123456789012:role/hyperpod",
        "cluster.groups.workers={instance_type:ml.p5.48xlarge,count:2}",
    ]
    if topology == "eks":
        arn = "arn:aws:eks:us-west-2:123456789012:cluster/k8s"
        words += [
            f'cluster.eks.cluster_arn="{arn}"',
            "cluster.vpc.subnets=[subnet-1]",
            "cluster.vpc.security_groups=[sg-1]",
        ]
    answer = cluster("plan", *words, config=(f"cluster={topology}",))
    assert answer.code == 0, answer.err
    assert answer.err == ""


def test_a_choice_that_is_not_there_is_told_with_those_that_are(here, cluster):
    answer = cluster("plan", config=("cluster=slrum",))
    assert answer.code == 2
    assert "There is no `slrum` to choose." in answer.err
    assert "slurm_api" in answer.err


def test_explain_knows_the_section(here, cluster, capsys):
    from smtrain.cli import main

    assert main(("explain", "cluster.groups.workers.count", "--config-dir", "conf", "cluster=mine")) == 0
    told = capsys.readouterr().out
    assert "set by     conf/cluster/mine.yaml:10" in told
    assert "meaning    Instances." in told


def test_the_same_configuration_gives_the_same_bytes_in_any_folder_and_for_any_hash_seed(here, tmp_path_factory):
    found = []
    for seed in ("1", "2"):
        folder = tmp_path_factory.mktemp(f"elsewhere{seed}")
        for name in ("base", "conf"):
            subprocess.run(("cp", "-r", str(here / name), str(folder / name)), check=True)
        words = (
            "cluster",
            "plan",
            "--config-dir",
            "conf",
            "cluster=mine",
            "cluster.users={ada:{uid:2001},bob:{uid:2002}}",
        )
        answer = smtrain(*words, cwd=folder, env={"PYTHONHASHSEED": seed, "TZ": f"UTC{seed}"})
        assert answer.code == 0, answer.err
        found.append(contents(folder / "clusters"))
    assert found[0] == found[1]


def test_a_plan_asks_no_network_and_imports_no_boto3(here):
    guard = (
        "import socket, sys\n"
        "def refuse(*_, **__): raise AssertionError('a plan opened a socket')\n"
        "socket.socket.connect = refuse\n"
        "from smtrain.cli import main\n"
        "code = main(sys.argv[1:])\n"
        "heavy = {'boto3', 'botocore', 'torch', 'transformers'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else code)\n"
    )
    words = ("cluster", "plan", "--config-dir", "conf", "cluster=mine")
    done = subprocess.run((sys.executable, "-c", guard, *words), cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_group_may_stand_in_its_own_file_and_come_from_a_run_s_experiment(here, cluster):
    (here / "conf" / "experiment").mkdir()
    path = here / "conf" / "experiment" / "team.yaml"
    path.write_text("# @package _global_\ndefaults:\n  - override /cluster: mine\n  - _self_\nname: team\n")
    answer = cluster("plan", config=("--config-dir", "conf", "experiment=team"))
    assert answer.code == 0, answer.err


HYPERPOD = (
    "backend=hyperpod_slurm",
    "backend.shared_dir=/fsx/runs",
    "trainer=lf_sft",
    "model=custom",
    "model.path=O/N",
)


def objections(here, *overrides):
    from smtrain.errors import SmtrainError

    words = (*HYPERPOD, "model.template=llama3", "cluster=mine", *overrides)
    try:
        compile_overrides(words, config_dir=here / "conf")
    except SmtrainError as error:
        return {problem.key: problem.what for problem in error.problems if problem.is_error}
    return {}


def test_a_run_that_needs_gpus_is_refused_on_a_group_that_has_none(here):
    edit(here, "ml.g5.12xlarge", "ml.c5.4xlarge")
    found = objections(here, "compute=gpu", "backend.partition=gpu")
    assert "`workers` (ml.c5.4xlarge) has none" in found["compute.gpus_per_node"]


def test_a_run_fits_its_cluster(here):
    found = objections(here, "compute=gpu", "compute.gpus_per_node=8", "compute.nodes=3", "strategy=ddp")
    assert "have 4 at most" in found["compute.gpus_per_node"]
    assert "3 nodes are asked for, and the cluster has 2" in found["compute.nodes"]
    assert "no partition `cpu`" in objections(here, "backend.partition=cpu")["backend.partition"]


def test_a_run_is_for_the_orchestrator_of_its_cluster(here):
    assert "is orchestrated by eks" in objections(here, "cluster.orchestrator=eks")["backend.name"]


def test_a_run_says_which_machines_it_wants_of_those_that_are_there(here):
    found = objections(here, "compute=instance", "compute.instance_type=ml.g5.48xlarge", "strategy=ddp")
    assert "has instances of ml.g5.48xlarge" in found["compute.instance_type"]


def test_a_cluster_of_controllers_runs_nothing(here):
    edit(here, "partition: gpu", "kind: login")
    assert "can run no job" in objections(here)["cluster.groups"]


def test_a_run_that_fits_is_compiled(here):
    assert objections(here, "compute=gpu", "compute.gpus_per_node=4", "compute.nodes=2", "strategy=ddp") == {}


def on_a_terminal(service, here, *words):
    environment = {**os.environ, **service.environment(), "TERM": "xterm"}
    environment.pop("CI", None)
    return on_terminal((*COMMAND, "cluster", *words), cwd=Path(here), env=environment)


def test_a_person_is_asked_once_before_a_cluster_is_made_and_before_it_is_deleted(account, here):
    pytest.importorskip("boto3", reason="boto3 is not installed")
    chosen = ("--config-dir", "conf", "cluster=mine", "--poll", "0.01")
    with on_a_terminal(account, here, "create", *chosen) as terminal:
        terminal.read_until("Create it? [y/N]")
        assert "workers: 2 × ml.g5.12xlarge" in terminal.text
        terminal.type("n\n")
        assert terminal.wait() == 130
    assert not any(operation == "CreateCluster" for operation, _ in account.calls)
    with on_a_terminal(account, here, "create", *chosen, "--yes") as terminal:
        assert terminal.wait() == 0
    with on_a_terminal(account, here, "delete", *chosen) as terminal:
        terminal.read_until("Delete it, with everything on its nodes? [y/N]")
        terminal.type("\n")
        assert terminal.wait() == 130
    assert not any(operation == "DeleteCluster" for operation, _ in account.calls)
