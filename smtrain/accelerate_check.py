"""What is wrong with a user's accelerate YAML, found without accelerate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from smtrain.errors import Origin, Problem, Severity
from smtrain.sections import StrategyKind
from smtrain.spec import Json, Topology
from smtrain.suggest import did_you_mean

if TYPE_CHECKING:
    from yaml import MappingNode


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


VERSION = "1.11.0"

KEYS = _names("""
    command_file commands compute_environment debug deepspeed_config distributed_type downcast_bf16 dynamo_backend
    dynamo_config enable_cpu_affinity fp16 fp8_config fsdp_config gpu_ids ipex_config machine_rank main_process_ip
    main_process_port main_training_function megatron_lm_config mixed_precision mpirun_config num_machines num_processes
    parallelism_config rdzv_backend same_network tpu_env tpu_name tpu_use_cluster tpu_use_sudo tpu_vm tpu_zone use_cpu
    """)
"""Top-level keys of a document for machines of one's own; accelerate refuses any other."""

FSDP_KEYS = _names("""
    fsdp_activation_checkpointing fsdp_auto_wrap_policy fsdp_backward_prefetch fsdp_cpu_ram_efficient_loading
    fsdp_forward_prefetch fsdp_min_num_params fsdp_offload_params fsdp_reshard_after_forward fsdp_sharding_strategy
    fsdp_state_dict_type fsdp_sync_module_states fsdp_transformer_layer_cls_to_wrap fsdp_use_orig_params fsdp_version
    """)
"""Keys of `fsdp_config` that the launcher hands on; it ignores any other. `fsdp_` may be left out."""

_IGNORED_MODULES = "fsdp_ignored_modules"
_TYPES: Mapping[StrategyKind, str] = {"ddp": "MULTI_GPU", "fsdp": "FSDP"}

FORKS: Mapping[str, str] = {"kt_config": "accelerate-kt"}
"""Keys that only a fork of accelerate reads (KTransformers', which LLaMA-Factory's use_kt needs)."""


def check(content: bytes, *, source: str, kind: StrategyKind, topology: Topology) -> Iterator[Problem]:
    """Yields what is wrong with the document, and where it contradicts the run."""
    import yaml

    try:
        text = content.decode()
        node, data = yaml.compose(text, yaml.SafeLoader), yaml.safe_load(text)
    except UnicodeDecodeError as error:
        yield _problem(source, None, f"This is not UTF-8: {error.reason} at byte {error.start}.")
        return
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or "it cannot be read"
        yield _problem(source, mark.line + 1 if mark else None, f"This is not YAML: {reason}.")
        return
    if not isinstance(data, dict) or not isinstance(node, yaml.MappingNode):
        yield _problem(source, 1, "An accelerate document is a mapping.")
        return
    lines = _lines(node)
    for name in _repeated(node):
        yield _problem(source, lines[name], f"{name} stands twice.")
    for name in sorted(set(map(str, data)) - KEYS):
        what = f"{name}: unknown key of accelerate {VERSION}."
        if name in FORKS:
            fix = f"Only the fork {FORKS[name]} reads it; the target must have that installed."
            yield _problem(source, lines.get(name), what, fix, Severity.WARNING)
        else:
            yield _problem(source, lines.get(name), what, did_you_mean(name, KEYS))
    for problem in (*_kind(data, kind, topology), *_fsdp(data)):
        name, what, fix, severity = problem
        yield _problem(source, lines.get(name), f"{name}: {what}", fix, severity)


_Finding = tuple[str, str, str, Severity]


def fsdp_findings(config: Mapping[str, Json]) -> Iterator[tuple[str, str, str, Severity]]:
    """Yields what is wrong with an `fsdp_config`: the key, what, what to do, and how bad."""
    full = {name if name.startswith("fsdp") else f"fsdp_{name}": value for name, value in config.items()}
    for name in full:
        if name not in FSDP_KEYS and name != _IGNORED_MODULES:
            hint = did_you_mean(name, FSDP_KEYS)
            yield name, f"accelerate {VERSION} knows no such FSDP setting and ignores it.", hint, Severity.ERROR
    if str(full.get("fsdp_version", 1)) not in {"1", "2"}:
        yield "fsdp_version", f"{full['fsdp_version']!r} is no version of FSDP.", "Say 2.", Severity.ERROR
    default = "FULL_STATE_DICT" if str(full.get("fsdp_version", 1)) == "1" else "SHARDED_STATE_DICT"
    if str(full.get("fsdp_state_dict_type", default)).upper() != "FULL_STATE_DICT":
        what = f"with {full.get('fsdp_state_dict_type', default)} transformers saves shards, and no model at the end."
        yield "fsdp_state_dict_type", what, "Say FULL_STATE_DICT.", Severity.WARNING


def _fsdp(data: Mapping[str, Json]) -> Iterator[_Finding]:
    config = data.get("fsdp_config")
    if data.get("distributed_type") == "FSDP" and isinstance(config, dict):
        for name, what, fix, severity in fsdp_findings(config):
            yield "fsdp_config", f"{name}: {what}", fix, severity


def _kind(data: Mapping[str, Json], kind: StrategyKind, topology: Topology) -> Iterator[_Finding]:
    found = data.get("distributed_type")
    expected = _TYPES[kind]
    if found == "MULTI_CPU" and kind == "ddp":
        if topology.world_size > 1:
            what = f"accelerate {VERSION} starts one process for MULTI_CPU, not {topology.world_size}."
            yield "distributed_type", what, "Say MULTI_GPU, which starts them all, on CPUs too.", Severity.ERROR
    elif found != expected and not (kind == "ddp" and str(found).startswith("MULTI_")):
        what = f"{found!r} is not strategy={kind}."
        yield "distributed_type", what, f"Say {expected}, or choose another strategy.", Severity.ERROR
    for name, value in (("num_machines", topology.nodes), ("num_processes", topology.world_size)):
        if data.get(name, value) != value:
            what = f"{data[name]!r} is overruled by the run's {value}."
            yield name, what, f"Say {value}, or leave it out.", Severity.WARNING


def _lines(node: MappingNode) -> dict[str, int]:
    return {str(key.value): key.start_mark.line + 1 for key, _ in node.value}


def _repeated(node: MappingNode) -> list[str]:
    names = [str(key.value) for key, _ in node.value]
    return sorted({name for name in names if names.count(name) > 1})


def _problem(
    source: str, line: int | None, what: str, fix: str = "Mend the file.", severity: Severity = Severity.ERROR
) -> Problem:
    where = Origin(source=source, line=line)
    return Problem(key="strategy.document", what=what, fix=fix, where=where, severity=severity)
