"""What the scripts of a bundle say, apart from the whole bundles in tests/golden."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from slurm_compiling import compiled, directives, document, files

from smtrain.testing import check_backend, compile_overrides

PLACE = ("backend.shared_dir=/fsx/team/smtrain",)


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("storage.output=s3://bucket/runs", "backend.venv=/fsx/env")])
def test_the_backend_conforms(more: tuple[str, ...]) -> None:
    check_backend("hyperpod_slurm", overrides=(*PLACE, *more))


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("compute.nodes=4", "--nodes=4"),
        ("backend.partition='gpu,spare'", "--partition=gpu,spare"),
        ("backend.account=team", "--account=team"),
        ("backend.qos=high", "--qos=high"),
        ("backend.time='1-12'", "--time=1-12"),
        ("backend.constraint='a|b'", "--constraint=a|b"),
        ("backend.reservation=course", "--reservation=course"),
        ("++backend.nodelist='node-[1-4]'", "--nodelist=node-[1-4]"),
        ("++backend.exclude=node-3", "--exclude=node-3"),
        ("++backend.dependency=afterok:12", "--dependency=afterok:12"),
        ("++backend.begin=now+1hour", "--begin=now+1hour"),
        ("backend.cpus_per_task=16", "--cpus-per-task=16"),
        ("backend.mem=64G", "--mem=64G"),
        ("backend.mail={user: me@x.org, types: [END, FAIL]}", "--mail-type=END,FAIL"),
        ("++backend.sbatch={nice: 100}", "--nice=100"),
        ("++backend.sbatch={contiguous: true}", "--contiguous"),
        ("backend.requeue.lead_s=90", "--signal=B:USR1@90"),
        ("backend.requeue.on_failed_node=false", "--no-requeue"),
    ],
)
def test_sbatch_is_asked_for_what_the_run_says(override: str, line: str) -> None:
    assert line in directives(override)


def test_gpus_are_asked_for_where_slurm_gives_them() -> None:
    on_cpus = ("compute.accelerator=cpu", "compute.gpus_per_node=null", "trainer.args.bf16=false")
    assert not [line for line in directives() if "gpu" in line]  # whole nodes of HyperPod
    assert "--gpus-per-node=8" in directives("backend.hyperpod=false")
    assert "--gpus-per-node=a100:8" in directives("backend.hyperpod=false", "backend.gpu_type=a100")
    assert "--gres=gpu:8" in directives("backend.gpu_request=gres")
    assert not [line for line in directives("backend.hyperpod=false", *on_cpus) if "gpu" in line]


def test_nodes_are_replaced_on_hyperpod_alone() -> None:
    script = files()["job.sbatch"]
    assert "if [[ -d /opt/sagemaker_cluster ]]; then auto_resume=(--auto-resume=1); fi" in script
    assert "auto-resume" not in files("backend.hyperpod=false")["job.sbatch"]


def test_efa_is_for_machines_that_have_it() -> None:
    assert "FI_PROVIDER=efa" in files("compute.instance_type=ml.p5.48xlarge")["node.sh"]
    assert "FI_PROVIDER" not in files("compute.instance_type=ml.p3.16xlarge")["node.sh"]
    assert "FI_PROVIDER" not in files("compute.instance_type=ml.p5.48xlarge", "compute.nodes=1")["node.sh"]


def test_one_node_installs_for_all_that_share_an_environment() -> None:
    assert document("setup.json")["install"]["mode"] == "auto"
    assert document("agent.json")["install"]["mode"] == "never"
    alone = files("backend.container={image: x}")
    assert "setup.json" not in alone
    assert document("agent.json", "backend.container={image: x}")["install"]["mode"] == "auto"


def test_no_secret_is_on_the_command_line_of_a_container(tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    docker.chmod(0o755)
    words = ("backend.container={image: org/train, runtime: docker, mounts: ['/models:/m:ro']}",)
    said = ("secrets.HF_TOKEN=env:MY_TOKEN", "storage.output=/fsx/results", f"++backend.scratch_dir={tmp_path}/nvme")
    (tmp_path / "docker.sh").write_text(files(*words, *said)["docker.sh"])
    own = {"SLURM_JOB_ID": "1", "SLURM_NODEID": "0", "SMTRAIN_RUN": "/run", "SMTRAIN_BUNDLE": "/run/bundle"}
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "MY_TOKEN": "hunter2", "AWS_SECRET_ACCESS_KEY": "hunter3", **own}
    done = subprocess.run(
        ("bash", tmp_path / "docker.sh", "node.sh"), env=env, capture_output=True, text=True, check=True
    )
    assert "hunter" not in done.stdout
    words_of_docker = done.stdout.splitlines()
    assert {"MY_TOKEN", "AWS_SECRET_ACCESS_KEY", "SMTRAIN_RUN", "SLURM_NODEID"} <= set(words_of_docker)
    assert {"/models:/m:ro", "/fsx/team/smtrain:/fsx/team/smtrain", "/fsx/results:/fsx/results"} <= set(words_of_docker)
    assert words_of_docker[-3:] == ["org/train", "bash", "/run/bundle/node.sh"]


def test_a_run_on_one_node_has_the_same_scripts() -> None:
    one = files("compute.nodes=1")
    assert {"job.sbatch", "node.sh", "steps.sh", "submit.sh", "environment.sh"} <= set(one)


def test_what_is_in_s3_is_looked_for_before_anything_is_sent_where_the_region_is_said() -> None:
    there = ("model.path=s3://bucket/models/base", "storage.output=s3://bucket/runs")
    assert [type(action).__name__ for action in compiled(*there).bundle.actions] == ["HandOver"]
    said = compiled(*there, "backend.region=us-east-1").bundle.actions
    assert [type(action).__name__ for action in said] == ["Expect", "HandOver"]


def test_a_secret_is_looked_for_where_the_job_is_submitted_unless_a_file_has_it() -> None:
    named = ("secrets.HF_TOKEN=env:MY_TOKEN",)
    assert "${MY_TOKEN+set}" in files(*named)["submit.sh"]
    assert "MY_TOKEN" not in files(*named, "++backend.env_file=/fsx/me/secrets")["submit.sh"]


def test_the_bundle_is_the_same_wherever_it_is_submitted_from(tmp_path, monkeypatch) -> None:
    words = ("backend=hyperpod_slurm", *PLACE, "trainer=lf_sft")
    first = compile_overrides(words).run_id
    monkeypatch.chdir(tmp_path)
    assert compile_overrides(words).run_id == first
