"""A rehearsal's overrides: the same training, ended after a few steps, on a machine without a GPU where asked."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import yaml
from llamafactory_jobs import job, options, rows
from smtrain_llamafactory.export_trainer import ExportTrainer
from smtrain_llamafactory.options import ModelOnlyOptions, Predict
from smtrain_llamafactory.trainer import SupervisedFineTuning

from smtrain.interfaces import Shortens
from smtrain.passes.compose import Request
from smtrain.pipeline import Compiled, compile_run
from smtrain.registry import Registry

REGISTRY = Registry()
MODEL = ("model.path=ORG/NAME", "model.template=chatml")


def compiled(*words: str) -> Compiled:
    return compile_run(Request(overrides=words), REGISTRY)


def shortened(*words: str, steps: int = 3, on_cpu: bool = False) -> tuple[Compiled, tuple[str, ...]]:
    """Returns the rehearsal of a run, compiled, and the trainer's overrides for it."""
    chosen = compiled(*words).job
    trainer = REGISTRY.trainer(chosen.run.trainer.name)
    assert isinstance(trainer, Shortens)
    more = trainer.shortened(chosen, chosen.run.trainer.options, steps=steps, on_cpu=on_cpu)
    cpu = ("compute.accelerator=cpu", "compute.gpus_per_node=null") if on_cpu else ()
    if on_cpu:
        cpu = (*cpu, f"compute.processes_per_node={chosen.topology.processes_per_node}")
    return compiled(*words, *more, *cpu), more


def arguments(of: Compiled, name: str = "train.yaml") -> Mapping[str, object]:
    return yaml.safe_load(next(file.text for file in of.program.files if file.path == name))


def overrides(args: Mapping[str, object], *, steps: int = 3, on_cpu: bool = False, **others: object) -> dict[str, str]:
    found = SupervisedFineTuning().shortened(job(rows()), options(args, **others), steps=steps, on_cpu=on_cpu)
    return dict(word.removeprefix("++").split("=", 1) for word in found)


# --------------------------------------------------------------------------------------------------------------- steps

SETTINGS: Mapping[str, Sequence[str]] = {
    "as it is": (),
    "epochs": ("trainer.args.num_train_epochs=5", "+trainer.args.logging_strategy=epoch"),
    "best model": (
        "+trainer.args.load_best_model_at_end=true", "+trainer.args.eval_strategy=epoch", "+trainer.args.eval_delay=2",
        "+trainer.args.save_strategy=epoch", "+trainer.args.val_size=0.2", "+trainer.args.early_stopping_steps=3",
    ),
    "held back by number": ("+trainer.args.val_size=20", "+trainer.args.eval_strategy=steps"),
    "streamed": ("+trainer.args.streaming=true", "+trainer.args.max_steps=9", "+trainer.args.dataloader_num_workers=1"),
    "reported": ("trainer.args.report_to=[wandb,tensorboard]", "+trainer.args.run_name=x"),
    "own steps": ("+trainer.args.max_steps=2", "+trainer.args.max_samples=5", "micro_batch_size=2"),
}  # fmt: skip


@pytest.mark.parametrize("trainer", ["lf_sft", "lf_pt", "lf_rm", "lf_dpo", "lf_kto"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_every_stage_compiles_shortened_whatever_was_set(trainer: str, setting: str) -> None:
    words = (*MODEL, f"trainer={trainer}", *SETTINGS[setting])
    if trainer == "lf_rm" and setting == "best model":
        pytest.skip("a reward model's training has no best model")
    short, _ = shortened(*words)
    args = arguments(short)
    assert args["max_steps"] == (2 if setting == "own steps" else 3) == short.job.steps
    assert (args["logging_strategy"], args["logging_steps"]) == ("steps", 1)
    assert args["save_strategy"] == "steps"
    assert int(str(args["save_steps"])) < 3
    assert args["report_to"] == "none"
    assert ("max_samples" in args) is (setting != "streamed")


def test_ppo_is_shortened_with_short_answers() -> None:
    words = (*MODEL, "trainer=lf_ppo", "trainer.args.reward_model=ORG/RM", "trainer.ppo_capable_environment=true")
    short, _ = shortened(*words)
    assert (arguments(short)["max_steps"], arguments(short)["max_new_tokens"]) == (3, 8)


@pytest.mark.parametrize(("steps", "save"), [(1, "1"), (2, "1"), (3, "2"), (10, "5")])
def test_a_checkpoint_is_written_within_the_steps(steps: int, save: str) -> None:
    found = overrides({}, steps=steps)
    assert (found["trainer.args.max_steps"], found["trainer.args.save_steps"]) == (str(steps), save)


def test_what_is_switched_off_stays_off() -> None:
    found = overrides({"save_strategy": "no", "eval_strategy": "no"})
    assert not {"trainer.args.save_strategy", "trainer.args.save_steps", "trainer.args.eval_steps"} & found.keys()
    assert "trainer.args.max_new_tokens" not in found


@pytest.mark.parametrize(
    ("args", "samples"),
    [
        ({}, "64"),
        ({"max_samples": 10}, "10"),
        ({"max_samples": 1000}, "64"),
        ({"val_size": 0.5}, "128"),
        ({"val_size": 100}, "164"),
        ({"packing": True}, "10000"),
    ],
)
def test_rows_are_bounded_but_suffice_for_the_steps(args: dict[str, object], samples: str) -> None:
    assert overrides(args)["trainer.args.max_samples"] == samples


def test_a_large_batch_keeps_its_rows() -> None:
    trainer = SupervisedFineTuning()
    found = trainer.shortened(job(rows(), micro=8, accumulation=16), options(), steps=3, on_cpu=False)
    assert "++trainer.args.max_samples=384" in found


def test_nothing_is_reported_or_pushed_anywhere() -> None:
    found = overrides({"report_to": "wandb", "push_to_hub": True, "use_swanlab": True})
    assert [found[f"trainer.args.{name}"] for name in ("report_to", "push_to_hub", "use_swanlab")] == [
        "none", "false", "false",
    ]  # fmt: skip


def test_predicted_answers_are_short() -> None:
    assert overrides({}, predict=Predict(enabled=True))["trainer.predict.args.max_new_tokens"] == "8"
    own = Predict(enabled=True, args={"max_new_tokens": 2})
    assert overrides({}, predict=own)["trainer.predict.args.max_new_tokens"] == "2"


def test_engine_v1_takes_its_own_words() -> None:
    found = SupervisedFineTuning().shortened(job(), options({}, engine="v1"), steps=3, on_cpu=False)
    assert found == ("++trainer.args.max_steps=3", "++trainer.args.logging_steps=1", "++trainer.args.save_steps=2")


# -------------------------------------------------------------------------------------------------------- without a GPU

ON_GPU: Mapping[str, Sequence[str]] = {
    "half": ("+trainer.args.fp16=true",),
    "pure": ("+trainer.args.pure_bf16=true",),
    "mixed": ("+trainer.args.bf16=true", "+trainer.args.tf32=true"),
    "fast attention": ("+trainer.args.bf16=true", "+trainer.args.flash_attn=fa2"),
    "quantised": ("tuning=qlora", "+trainer.args.bf16=true", "+trainer.args.optim=paged_adamw_8bit"),
    "kernels": ("+trainer.args.enable_liger_kernel=true", "+trainer.args.fp8=true", "+trainer.args.torch_compile=true"),
    "deepspeed": ("strategy=zero2", "compute.gpus_per_node=2", "+trainer.args.fp16=true"),
    "nccl": ("strategy=ddp", "compute.gpus_per_node=2", "+trainer.args.ddp_backend=nccl"),
    "said not to use the CPU": ("+trainer.args.use_cpu=false",),
}
NEEDING_A_GPU = {"fp16", "pure_bf16", "tf32", "fp8", "quantization_bit", "enable_liger_kernel", "torch_compile"}


@pytest.mark.parametrize("setting", ON_GPU)
def test_a_training_for_gpus_compiles_for_a_machine_without(setting: str) -> None:
    short, _ = shortened(*MODEL, "compute=gpu", *ON_GPU[setting], on_cpu=True)
    args = arguments(short)
    assert args["use_cpu"] is True
    assert not [name for name in NEEDING_A_GPU if args.get(name)]
    assert args.get("flash_attn", "auto") == "auto"
    assert args.get("ddp_backend", "gloo") == "gloo"
    assert "8bit" not in str(args.get("optim"))
    needed = {package.name for package in short.program.needs.packages}
    assert not needed & {"bitsandbytes", "flash-attn", "liger-kernel", "wandb"}
    if setting in ("half", "pure", "deepspeed"):
        assert args["bf16"] is True


def test_a_training_for_cpus_is_left_as_it_is() -> None:
    assert shortened(*MODEL, "compute=cpu", on_cpu=True)[1] == shortened(*MODEL, "compute=cpu")[1]


def test_on_a_gpu_nothing_gives_way() -> None:
    found = overrides({"fp16": True, "quantization_bit": 4, "flash_attn": "fa2", "optim": "paged_adamw_8bit"})
    assert not [key for key in found if key.endswith(("fp16", "quantization_bit", "flash_attn", "optim"))]


def test_later_steps_give_way_as_well() -> None:
    predict = Predict(enabled=True, args={"infer_backend": "vllm", "infer_dtype": "float16"})
    found = overrides({}, on_cpu=True, predict=predict)
    assert found["trainer.predict.args.infer_backend"] == "huggingface"
    assert found["trainer.predict.args.infer_dtype"] == "auto"


def test_an_export_has_no_steps() -> None:
    chosen = ModelOnlyOptions(args={"export_device": "auto"})
    assert ExportTrainer().shortened(job(), chosen, steps=3, on_cpu=False) == ()
    assert ExportTrainer().shortened(job(), chosen, steps=3, on_cpu=True) == ("++trainer.args.export_device=cpu",)


@pytest.mark.train
@pytest.mark.slow
def test_a_run_for_a_gpu_ends_after_three_steps_on_this_machine(tiny_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("llamafactory", reason="the extra `llamafactory` brings it")
    words = (
        f"model.path={tiny_model}", "model.template=chatml", "compute=gpu", "tuning=qlora",
        "trainer.args.cutoff_len=128",
        "+trainer.args.fp16=true", "+trainer.args.flash_attn=fa2", "+trainer.args.val_size=0.1",
        "+trainer.args.eval_strategy=epoch", "+trainer.args.save_strategy=epoch", "trainer.args.report_to=wandb",
        "+trainer.args.load_best_model_at_end=true", "+trainer.args.optim=paged_adamw_8bit",
    )  # fmt: skip
    _, more = shortened(*words, on_cpu=True)
    cpu = ("compute.accelerator=cpu", "compute.gpus_per_node=null")
    command = (sys.executable, "-m", "smtrain.cli", "run", *words, *more, *cpu, "--json")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    logs = "".join(path.read_text() for path in tmp_path.glob("runs/*/logs/workload.log"))
    assert done.returncode == 0, f"{done.stderr}\n{logs[-5000:]}"
    (run_dir,) = tmp_path.glob("runs/smtrain-*")
    reported = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in reported if "loss" in row] == [1, 2, 3]
    assert [row["step"] for row in reported if "eval_loss" in row] == [2, 3]
    assert {path.parent.name for path in run_dir.glob("output/**/trainer_state.json")} >= {
        "checkpoint-2",
        "checkpoint-3",
    }
