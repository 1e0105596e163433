"""The documents, held against DeepSpeed, transformers and accelerate themselves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf
from strategy_jobs import make_job

from smtrain import accelerate_check, deepspeed_keys, distributed
from smtrain.accelerate_document import FSDP, fsdp_arguments, fsdp_environment, yaml_text
from smtrain.deepspeed_document import STAGES, json_text
from smtrain.overrides import lay_over

ALL = ("single", "ddp", *STAGES, "fsdp")

READ_BY_DEEPSPEED = """
import json, sys
import inspect, torch
from deepspeed.runtime.config import (
    DEEPSPEED_OPTIMIZERS, DeepSpeedConfig, _REMOVED_TOP_LEVEL_CONFIG_KEYS, _REMOVED_ZERO_CONFIG_KEYS)
from deepspeed.runtime.precision_config import DeepSpeedBF16Config, DeepSpeedFP16Config
from deepspeed.runtime.zero.config import DeepSpeedZeroConfig
from deepspeed.runtime.zero.offload_config import DeepSpeedZeroOffloadOptimizerConfig, DeepSpeedZeroOffloadParamConfig

class Seen(dict):
    keys_read = set()
    def __getitem__(self, key): self.keys_read.add(key); return super().__getitem__(key)
    def get(self, key, default=None): self.keys_read.add(key); return super().get(key, default)
    def __contains__(self, key): self.keys_read.add(key); return super().__contains__(key)
    def keys(self): return self
    def __copy__(self): return self

def fields(model):
    return sorted({name for name in model.model_fields} | {f.alias for f in model.model_fields.values() if f.alias})

DeepSpeedConfig(Seen(train_batch_size=1))
documents = json.load(sys.stdin)
stages = {}
for name, document in documents.items():
    config = DeepSpeedConfig(document)
    DeepSpeedZeroConfig(**document["zero_optimization"])
    zero = config.zero_config
    stages[name] = [zero.stage, config.train_batch_size, zero.gather_16bit_weights_on_model_save,
                    zero.offload_optimizer is not None, zero.offload_param is not None, config.bfloat16_config.enabled]
optimizers = [n for n, c in vars(torch.optim).items() if inspect.isclass(c) and issubclass(c, torch.optim.Optimizer)]
print("RESULT" + json.dumps({
    "read": sorted(Seen.keys_read), "stages": stages,
    "removed": sorted([*_REMOVED_TOP_LEVEL_CONFIG_KEYS,
                       *("zero_optimization." + key for key in _REMOVED_ZERO_CONFIG_KEYS)]),
    "optimizers": sorted(DEEPSPEED_OPTIMIZERS), "torch": sorted(set(optimizers) - {"Optimizer"}),
    "sections": {"zero_optimization": fields(DeepSpeedZeroConfig), "bf16": fields(DeepSpeedBF16Config),
                 "fp16": fields(DeepSpeedFP16Config),
                 "zero_optimization.offload_optimizer": fields(DeepSpeedZeroOffloadOptimizerConfig),
                 "zero_optimization.offload_param": fields(DeepSpeedZeroOffloadParamConfig)}}))
"""

FILLED_BY_TRANSFORMERS = """
import json, sys
from types import SimpleNamespace
from transformers import TrainingArguments
from transformers.integrations.deepspeed import HfTrainerDeepSpeedConfig
filled = {}
for name, document in json.load(sys.stdin).items():
    arguments = SimpleNamespace(**vars(TrainingArguments(
        output_dir="unused", use_cpu=True, bf16=True, per_device_train_batch_size=2, gradient_accumulation_steps=3,
        max_grad_norm=0.7)), world_size=4, get_warmup_steps=lambda steps: 0)
    config = HfTrainerDeepSpeedConfig(document)
    config.trainer_config_process(arguments)
    config.trainer_config_finalize(arguments, SimpleNamespace(config=SimpleNamespace(hidden_size=64)), 10)
    filled[name] = config.config
print("RESULT" + json.dumps(filled))
"""


def ask(script: str, documents: dict[str, object]) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps(documents), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(line for line in done.stdout.splitlines() if "RESULT" in line)
    return dict(json.loads(line.partition("RESULT")[2]))


def generated(*, hf_auto: bool) -> dict[str, object]:
    jobs = {kind: make_job(kind, nodes=2, micro=2, accumulation=3) for kind in STAGES}
    return {
        kind: distributed.generated_deepspeed(job, mixed_precision="bf16", hf_auto=hf_auto)
        for kind, job in jobs.items()
    }


@pytest.fixture(scope="module")
def deepspeed_says() -> dict[str, object]:
    pytest.importorskip("deepspeed")
    documents = generated(hf_auto=False)
    # One process asks, so DeepSpeed sees a world of one: 2 × 3 × 1.
    return ask(READ_BY_DEEPSPEED, {k: v | {"train_batch_size": 6} for k, v in documents.items()})  # type: ignore[operator]


@pytest.mark.slow
def test_deepspeed_reads_every_document_as_it_is_meant(deepspeed_says: dict[str, object]) -> None:
    # stage, train batch size, whole model saved, optimizer offloaded, parameters offloaded, bf16
    assert deepspeed_says["stages"] == {
        "zero1": [1, 6, False, False, False, True],
        "zero2": [2, 6, False, False, False, True],
        "zero2_offload": [2, 6, False, True, False, True],
        "zero3": [3, 6, True, False, False, True],
        "zero3_offload": [3, 6, True, True, True, True],
    }


@pytest.mark.slow
def test_tables_equal_the_keys_that_the_installed_deepspeed_reads(deepspeed_says: dict[str, object]) -> None:
    from importlib.metadata import version

    if version("deepspeed") != deepspeed_keys.VERSION:
        pytest.skip(f"the tables are those of DeepSpeed {deepspeed_keys.VERSION}")
    removed = {key for key in deepspeed_keys.REMOVED if "." not in key}
    assert set(deepspeed_says["read"]) - removed == deepspeed_keys.TOP_LEVEL  # type: ignore[call-overload]
    assert set(deepspeed_says["removed"]) == deepspeed_keys.REMOVED  # type: ignore[call-overload]
    assert set(deepspeed_says["optimizers"]) == deepspeed_keys.OPTIMIZERS  # type: ignore[call-overload]
    assert {name: set(fields) for name, fields in deepspeed_says["sections"].items()} == deepspeed_keys.SECTIONS  # type: ignore[attr-defined]
    if version("torch").split("+")[0] == deepspeed_keys.TORCH_VERSION:
        assert set(deepspeed_says["torch"]) == deepspeed_keys.TORCH_OPTIMIZERS  # type: ignore[call-overload]


@pytest.mark.slow
def test_transformers_finds_no_mismatch_and_fills_in_every_auto() -> None:
    pytest.importorskip("deepspeed")
    filled = ask(FILLED_BY_TRANSFORMERS, generated(hf_auto=True))
    assert '"auto"' not in json.dumps(filled)
    zero3 = filled["zero3"]
    assert zero3["gradient_clipping"] == 0.7  # type: ignore[index]
    assert zero3["bf16"] == {"enabled": True}  # type: ignore[index]
    assert zero3["train_batch_size"] == 24  # type: ignore[index]  # 2 × 3 × 4 processes
    assert zero3["zero_optimization"]["reduce_bucket_size"] == 64 * 64  # type: ignore[index]


def test_a_document_for_deepspeed_itself_has_no_auto() -> None:
    assert "auto" not in json.dumps(generated(hf_auto=False))


def test_json_keeps_number_types_and_order() -> None:
    text = json_text(lay_over({"b": 1, "a": {"x": 5e8}}, {"a.y": 2, "c": 1e-4}))
    assert text == '{\n  "b": 1,\n  "a": {\n    "x": 500000000.0,\n    "y": 2\n  },\n  "c": 0.0001\n}\n'


@pytest.mark.parametrize(
    "overrides",
    [
        {"zero_optimization.offload_optimizer.pin_memory": True},
        {"zero_optimization": {"offload_optimizer": {"pin_memory": True}}},
        {"zero_optimization": {"offload_optimizer.pin_memory": True}},
    ],
)
def test_overrides_nest_or_are_dotted(overrides: dict[str, object]) -> None:
    job = make_job("zero2_offload", overrides=overrides)
    zero = distributed.generated_deepspeed(job, mixed_precision="no", hf_auto=True)["zero_optimization"]
    assert zero["offload_optimizer"] == {"device": "cpu", "pin_memory": True}  # type: ignore[index, call-overload]
    assert zero["stage"] == 2  # type: ignore[index, call-overload]


def test_an_override_of_null_removes_the_key() -> None:
    job = make_job("zero2", overrides={"zero_optimization.overlap_comm": None})
    document = distributed.generated_deepspeed(job, mixed_precision="no", hf_auto=True)
    assert "overlap_comm" not in document["zero_optimization"]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("kind", "per_node", "expected"),
    [
        ("single", 1, "NO"),
        ("ddp", 2, "MULTI_GPU"),
        ("zero2", 2, "DEEPSPEED"),
        ("zero3", 1, "DEEPSPEED"),
        ("fsdp", 2, "FSDP"),
    ],
)
def test_accelerate_reads_the_yaml(tmp_path: Path, kind: str, per_node: int, expected: str) -> None:
    config_args = pytest.importorskip("accelerate.commands.config.config_args")
    job = make_job(kind, "accelerate", nodes=1, per_node=per_node)
    files = {file.path: file.text for file in distributed.documents(job, mixed_precision="bf16", hf_auto=True)}
    path = tmp_path / "accelerate.yaml"
    path.write_text(files["accelerate.yaml"])
    config = config_args.load_config_from_file(str(path))
    assert (config.distributed_type.value, config.num_machines, config.num_processes) == (expected, 1, per_node)
    assert config.mixed_precision == (None if expected == "DEEPSPEED" else "bf16")
    assert config.deepspeed_config.get("deepspeed_config_file") == (
        "deepspeed.json" if expected == "DEEPSPEED" else None
    )
    assert config.fsdp_config == (FSDP if expected == "FSDP" else {})
    for runtime in ("machine_rank", "main_process_ip", "main_process_port"):
        assert runtime not in files["accelerate.yaml"]


def test_tables_equal_the_keys_of_the_installed_accelerate() -> None:
    config_args = pytest.importorskip("accelerate.commands.config.config_args")
    from accelerate import __version__
    from accelerate.commands.launch import launch_command_parser

    if __version__ != accelerate_check.VERSION:
        pytest.skip(f"the tables are those of accelerate {accelerate_check.VERSION}")
    # `fp16` and `dynamo_backend` are older spellings that it converts.
    fields = set(config_args.ClusterConfig.__dataclass_fields__) | {"fp16", "dynamo_backend"}
    assert fields == accelerate_check.KEYS
    options = {action.dest for action in launch_command_parser()._actions}
    assert {name for name in options if name.startswith("fsdp_")} == accelerate_check.FSDP_KEYS


def test_pyyaml_and_omegaconf_read_the_same_types() -> None:
    document = {"small": 1e-4, "text": "1e-4", "no": "no", "null": "null", "int": 3, "big": 5e8, "on": True, "n": None}
    text = yaml_text(document)  # type: ignore[arg-type]
    assert yaml.safe_load(text) == document
    assert OmegaConf.to_container(OmegaConf.create(text)) == document


def test_fsdp_says_the_same_by_environment_and_by_arguments() -> None:
    assert fsdp_environment(FSDP) == {
        "ACCELERATE_USE_FSDP": "true",
        "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
        "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",
        "FSDP_OFFLOAD_PARAMS": "false",
        "FSDP_RESHARD_AFTER_FORWARD": "true",
        "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
        "FSDP_VERSION": "2",
    }
    assert fsdp_arguments(FSDP) == {
        "fsdp": "full_shard auto_wrap",
        "fsdp_config": {"version": 2, "reshard_after_forward": True, "cpu_ram_efficient_loading": True},
    }


def test_a_users_document_keeps_its_bytes_and_its_relative_path() -> None:
    content = b'{\r\n  "train_batch_size": "auto", "zero_optimization": {"stage": 2, "reduce_bucket_size": 5e8}}'
    job = make_job("zero2", document="./examples/deepspeed/mine.json", content=content, accelerator="gpu")
    (file,) = distributed.documents(job, mixed_precision="no", hf_auto=True)
    assert (file.path, file.text.encode()) == ("examples/deepspeed/mine.json", content)
    assert distributed.deepspeed_path(job) == file.path


@pytest.mark.parametrize("path", ["/etc/mine.json", "../mine.json", "~/mine.json", "a/../../mine.json"])
def test_a_users_document_never_leaves_the_working_directory(path: str) -> None:
    assert distributed.document_path(path) == "mine.json"


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("launcher", ["torchrun", "accelerate", "deepspeed"])
@pytest.mark.parametrize("accelerator", ["gpu", "cpu"])
def test_which_documents_there_are(kind: str, launcher: str, accelerator: str) -> None:
    job = make_job(kind, launcher, accelerator=accelerator)
    paths = {file.path for file in distributed.documents(job, mixed_precision="no", hf_auto=True)}
    expected = {"deepspeed.json"} if kind in STAGES else set()
    if launcher == "accelerate":
        expected |= {"accelerate.yaml"}
    if accelerator == "cpu" and (kind, launcher) != ("single", "torchrun"):
        expected |= {distributed.WORKER}
    assert paths == expected
    started = distributed.launch_command(job, ("-m", "acme"))
    assert (distributed.WORKER in started) == (distributed.WORKER in paths)
    assert distributed.zero_stage(job) == STAGES.get(kind)  # type: ignore[call-overload]
