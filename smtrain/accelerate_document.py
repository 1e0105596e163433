"""The YAML that `accelerate launch` reads, and the FSDP settings."""

from __future__ import annotations

from collections.abc import Mapping

from smtrain.overrides import lay_over
from smtrain.sections import StrategyKind
from smtrain.spec import Json, Topology

FSDP: Mapping[str, Json] = {
    # Version 2 shards single parameters, so frozen and trained ones mix (LoRA); accelerate 1.11 asks of version 1 a GPU
    # even to be configured.
    "fsdp_version": 2,
    "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
    "fsdp_reshard_after_forward": True,
    "fsdp_offload_params": False,
    "fsdp_cpu_ram_efficient_loading": True,
    # With version 2's own default, sharded, transformers 5.6 ends without saving a model and says nothing.
    "fsdp_state_dict_type": "FULL_STATE_DICT",
}


def accelerate_document(
    kind: StrategyKind,
    topology: Topology,
    *,
    mixed_precision: str,
    deepspeed_config_file: str | None = None,
    overrides: Mapping[str, object] | None = None,
) -> dict[str, Json]:
    """Returns the document; what differs between hosts is left to the command line.

    Precision is left out where DeepSpeed runs: its own document decides, and accelerate refuses two opinions.

    Args:
      kind: the strategy.
      topology: nodes and processes.
      mixed_precision: "no", "bf16" or "fp16".
      deepspeed_config_file: path of the DeepSpeed JSON in the working directory, for the kinds that have one.
      overrides: laid over the result.
    """
    document: dict[str, Json] = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": _distributed_type(kind, topology, deepspeed_config_file),
        "num_machines": topology.nodes,
        "num_processes": topology.world_size,
        "rdzv_backend": "static",
        "same_network": True,
        "use_cpu": topology.accelerator == "cpu",
    }
    if deepspeed_config_file is not None:
        document["deepspeed_config"] = {
            "deepspeed_config_file": deepspeed_config_file,
            # The other choices reach the nodes through ssh, or want a host file.
            "deepspeed_multinode_launcher": "standard",
        }
    else:
        document["mixed_precision"] = mixed_precision
    if kind == "fsdp":
        document["fsdp_config"] = dict(FSDP)
    return lay_over(document, overrides or {})


def fsdp_environment(fsdp_config: Mapping[str, Json]) -> dict[str, str]:
    """Returns the environment by which `accelerate launch` turns FSDP on, for launchers that do not.

    Source: accelerate 1.11, `utils/launch.py`, prepare_multi_gpu_env.
    """
    settings = {
        _FSDP_NAMES.get(key, key).upper(): str(value).lower() if isinstance(value, bool) else str(value)
        for key, value in fsdp_config.items()
    }
    return {"ACCELERATE_USE_FSDP": "true", **dict(sorted(settings.items()))}


def fsdp_arguments(fsdp_config: Mapping[str, Json]) -> dict[str, Json]:
    """Returns the same settings as `fsdp` and `fsdp_config` of transformers' TrainingArguments (5.6)."""
    config = {key.removeprefix("fsdp_"): value for key, value in fsdp_config.items()}
    policy = str(config.pop("auto_wrap_policy", "NO_WRAP")).upper()
    offload = config.pop("offload_params", False)
    # Not among its settings; the environment says it.
    config.pop("state_dict_type", None)
    sharding = str(config.pop("sharding_strategy", "FULL_SHARD")).lower()
    if config.get("reshard_after_forward") is False:
        sharding = "shard_grad_op"
    words = [sharding, "offload" if offload else "", "" if policy == "NO_WRAP" else "auto_wrap"]
    return {"fsdp": " ".join(filter(None, words)), "fsdp_config": config}


def yaml_text(document: Mapping[str, Json]) -> str:
    """Returns YAML that every reader gives the same types.

    YAML 1.1 as PyYAML reads it takes `1e-4` for a string, others for a number: such a string is quoted, and PyYAML
    writes floats as `1.0e-04`.
    """
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    def represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'" if _like_a_number(text) else None)

    Dumper.add_representer(str, represent)
    return yaml.dump(dict(document), Dumper=Dumper, sort_keys=False, allow_unicode=True)


_FSDP_NAMES = {"fsdp_transformer_layer_cls_to_wrap": "fsdp_transformer_cls_to_wrap"}


def _like_a_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _distributed_type(kind: StrategyKind, topology: Topology, deepspeed_config_file: str | None) -> str:
    if deepspeed_config_file is not None:
        return "DEEPSPEED"
    if kind == "fsdp":
        return "FSDP"
    if topology.world_size == 1:
        return "NO"
    # On CPUs too: accelerate 1.11 starts a single process for MULTI_CPU, and as many as asked for MULTI_GPU, which then
    # find out for themselves what they compute on.
    return "MULTI_GPU"
