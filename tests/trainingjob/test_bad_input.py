"""Every mistake is one clear problem, at the key that made it, before anything is uploaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from compiling import errors, warnings

from smtrain.errors import SmtrainError
from smtrain.testing import compile_overrides

ECR = "763104351884.dkr.ecr.us-east-1.amazonaws.com"
OLD_IMAGE = f"{ECR}/pytorch-training:1.13.1-gpu-py39-cu117-ubuntu20.04-sagemaker"
EIGHT_ON_FOUR = ("compute.instance_type=ml.g5.12xlarge", "compute.processes_per_node=8", "strategy=ddp")
FSX = "++backend.file_systems={fsx:{id:fs-0123456789abcdef0,path:/abcd}}"
CHANNELS = ",".join(f"c{number}:{{uri:s3://bucket/c{number}/}}" for number in range(21))


@pytest.mark.parametrize(
    ("overrides", "key", "told"),
    [
        (("name=my.job",), "name", "my.job"),
        ((f"++backend.environment.LONG={'x' * 600}",), "backend.environment.LONG", "512"),
        (('++backend.hyperparameters.note="two\nlines"',), "backend.hyperparameters.note", "line"),
        ((f"++backend.channels={{{CHANNELS}}}",), "backend.channels", "20"),
        (("compute.instance_type=ml.g5.13xlarge",), "compute.instance_type", "Did you mean `ml.g5.16xlarge`?"),
        (("compute.instance_type=ml.p9.huge",), "compute.instance_type", "no instance type"),
        ((*EIGHT_ON_FOUR, "compute.accelerator=gpu"), "compute.processes_per_node", "4 GPUs"),
        ((FSX,), "backend.file_systems.fsx", "security groups"),
        ((f"backend.image={OLD_IMAGE}",), "backend.image", "Python"),
        (("backend.framework.version=9.9",), "backend.framework.version", "9.9"),
        (("storage.output=/fsx/results",), "storage.output", "s3://"),
        (("storage.output=s3://Bad_Bucket/x",), "storage.output", "Bad_Bucket"),
        (("backend.role=admin",), "backend.role", "admin"),
        (("backend.region=nowhere",), "backend.region", "nowhere"),
        (("backend.keep_alive_s=600", "backend.spot=true"), "backend.keep_alive_s", "spot"),
        (("backend.spot=true", "backend.max_wait_s=60"), "backend.max_wait_s", "86400"),
        (("backend.max_wait_s=90000",), "backend.max_wait_s", "spot"),
        (('++backend.tags={"aws:x":1}',), "backend.tags", "aws:"),
        (("++backend.metrics={bad:'('}",), "backend.metrics.bad", "regular expression"),
        (("++backend.inputs={modle:File}", "model.path=s3://bucket/m"), "backend.inputs.modle", "model"),
        (("++backend.channels={agent:{uri:s3://bucket/a/}}",), "backend.channels.agent", "agent"),
        (("backend.source_dir=no/such/folder",), "backend.source_dir", "no/such/folder"),
        (("backend.install.wheels=no/such/folder",), "backend.install.wheels", "no/such/folder"),
        (("backend.scratch_dir=relative",), "backend.scratch_dir", "relative"),
        (("backend.max_run_s=0",), "backend.max_run_s", "0"),
        (("backend.max_run_s=99999999",), "backend.max_run_s", "28"),
        (("compute.instance_type=null",), "compute.instance_type", "instance type"),
        (("compute.instance_type=g5.2xlarge",), "compute.instance_type", "ml.g5.2xlarge"),
        (("backend.spto=true",), "backend.spto", "spot"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_clear_problem(overrides: tuple[str, ...], key: str, told: str) -> None:
    found = errors(*overrides)
    assert [problem.key for problem in found] == [key]
    assert told in f"{found[0].what}\n{found[0].fix}"
    assert found[0].fix
    assert found[0].where is not None


def test_what_must_be_said_is_asked_for_at_once() -> None:
    with pytest.raises(SmtrainError) as raised:
        compile_overrides(("backend=trainingjob", "trainer=lf_sft"))
    keys = {problem.key for problem in raised.value.problems}
    assert {"backend.role", "backend.region", "storage.output", "compute.instance_type"} <= keys


def test_a_model_of_this_machine_is_refused_with_the_command_that_moves_it(tiny_model: Path) -> None:
    (problem,) = errors(f"model.path={tiny_model}")
    assert problem.key == "model.path"
    assert f"s5cmd cp '{tiny_model}/*' s3://" in problem.fix


def test_spot_without_checkpoints_is_warned_of() -> None:
    assert "backend.spot" not in warnings("backend.spot=true")
    assert "checkpoint" in warnings("backend.spot=true", "backend.checkpoints.upload=false")["backend.spot"]


def test_a_large_model_through_the_model_folder_is_warned_of_with_the_time() -> None:
    full = ("tuning=full", "model.path=Qwen/Qwen3-8B", "backend.model_dir=true")
    assert "paid hours" in warnings(*full)["backend.model_dir"]
    assert "backend.model_dir" not in warnings("model.path=Qwen/Qwen3-8B", "backend.model_dir=true")


def test_a_secret_of_this_machine_is_warned_of() -> None:
    assert "secretsmanager:" in warnings("++secrets.HF_TOKEN=env:HF_TOKEN")["secrets.HF_TOKEN"]
    assert "secrets.HF_TOKEN" not in warnings("++secrets.HF_TOKEN=secretsmanager:hf")


def test_an_image_of_your_own_is_taken_with_a_word_about_what_it_needs() -> None:
    own = "backend.image=123456789012.dkr.ecr.us-east-1.amazonaws.com/mine:1"
    assert "Python" in warnings(own)["backend.image"]


def test_all_mistakes_are_told_at_once() -> None:
    keys = {
        problem.key
        for problem in errors(
            "name=a.b", "trainer.args.cutoff_lem=1", "compute.instance_type=ml.g5.13xlarge", "backend.role=x"
        )
    }
    assert keys == {"name", "compute.instance_type", "backend.role", "trainer.args.cutoff_lem"}
