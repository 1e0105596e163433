"""Topology and strategy → the documents of DeepSpeed and accelerate, and the command that starts the processes."""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from smtrain.accelerate_document import FSDP, accelerate_document, fsdp_arguments, fsdp_environment, yaml_text
from smtrain.deepspeed_document import STAGES, deepspeed_document, json_text
from smtrain.overrides import lay_over
from smtrain.spec import Concat, Job, Json, RuntimeVar, TextFile, Word

DEEPSPEED_JSON = "deepspeed.json"
WORKER = "smtrain_worker.py"
ACCELERATE_YAML = "accelerate.yaml"


def zero_stage(job: Job) -> int | None:
    """Returns the ZeRO stage, None without DeepSpeed; a user's document of another stage is refused by the check."""
    if job.run.strategy.kind == "ddp" and deepspeed_path(job) is not None:
        return 0
    return STAGES.get(job.run.strategy.kind)


def is_fsdp(job: Job) -> bool:
    """Whether FSDP shards the model."""
    return job.run.strategy.kind == "fsdp"


def deepspeed_path(job: Job) -> str | None:
    """Returns the path of the DeepSpeed JSON in the working directory, None where there is none."""
    own = job.run.strategy.document
    if own is not None and not is_accelerate_document(own):
        return document_path(own)
    return DEEPSPEED_JSON if job.run.strategy.kind in STAGES else None


def accelerate_path(job: Job) -> str | None:
    """Returns the path of the accelerate YAML in the working directory, None with another launcher."""
    if job.run.launcher.kind != "accelerate":
        return None
    own = job.run.strategy.document
    return document_path(own) if own is not None and is_accelerate_document(own) else ACCELERATE_YAML


def is_accelerate_document(path: str) -> bool:
    """Whether a user's document is accelerate's; a DeepSpeed document is JSON."""
    return PurePosixPath(path).suffix.lower() in {".yaml", ".yml"}


def document_path(path: str) -> str:
    """Returns where a user's document stands in the working directory.

    A relative path stays, so that what names it remains true; of one that leads elsewhere the name is kept.
    """
    pure = PurePosixPath(path)
    return pure.name if pure.is_absolute() or {"..", "~"} & set(pure.parts) or ":" in path else str(pure)


def documents(
    job: Job, *, mixed_precision: str, hf_auto: bool, gradient_clipping: float | None = None
) -> tuple[TextFile, ...]:
    """Returns the files that the strategy and the launcher need; a user's document keeps its bytes.

    Args:
      job: a job that `strategy_check.check` found no error in.
      mixed_precision: "no", "bf16" or "fp16".
      hf_auto: whether transformers' Trainer reads the DeepSpeed document; see `deepspeed_document`.
      gradient_clipping: largest gradient norm, for a trainer that hands the document to DeepSpeed itself.
    """
    texts = {path: job.strategy_document.decode() for path in _own_path(job) if job.strategy_document is not None}
    if (path := deepspeed_path(job)) is not None and path not in texts:
        data = generated_deepspeed(
            job, mixed_precision=mixed_precision, hf_auto=hf_auto, gradient_clipping=gradient_clipping
        )
        texts[path] = json_text(data)
    if (path := accelerate_path(job)) is not None and path not in texts:
        texts[path] = yaml_text(generated_accelerate(job, mixed_precision=mixed_precision))
    return (*(TextFile(path=path, text=text) for path, text in sorted(texts.items())), *worker_files(job))


def generated_deepspeed(
    job: Job, *, mixed_precision: str, hf_auto: bool, gradient_clipping: float | None = None
) -> dict[str, Json]:
    """Returns the DeepSpeed document that smtrain writes for a kind of strategy that has one."""
    return deepspeed_document(
        job.run.strategy.kind,
        job.batch,
        mixed_precision=mixed_precision,
        hf_auto=hf_auto,
        gradient_clipping=gradient_clipping,
        pin_memory=job.topology.accelerator != "cpu",
        overrides=job.run.strategy.overrides,
    )


def generated_accelerate(job: Job, *, mixed_precision: str) -> dict[str, Json]:
    """Returns the accelerate document that smtrain writes; overrides belong to DeepSpeed's where there is one."""
    path = deepspeed_path(job)
    return accelerate_document(
        job.run.strategy.kind,
        job.topology,
        mixed_precision=mixed_precision,
        deepspeed_config_file=path,
        overrides=job.run.strategy.overrides if path is None else {},
    )


def hf_fsdp_arguments(job: Job) -> Mapping[str, Json]:
    """Returns transformers' `fsdp` and `fsdp_config`; empty without FSDP, or where accelerate's YAML says it."""
    if not is_fsdp(job) or job.run.launcher.kind == "accelerate":
        return {}
    return fsdp_arguments(_fsdp_config(job))


def worker_files(job: Job) -> tuple[TextFile, ...]:
    """Returns the file that `worker_entry` may name; part of `documents`."""
    return (TextFile(path=WORKER, text=_worker_text()),) if _may_use_gloo(job) else ()


def worker_entry(job: Job, entry: tuple[Word, ...]) -> tuple[Word, ...]:
    """Returns what a launcher is to start for `entry`: under gloo by way of `smtrain.worker`, which ends it well."""
    return (WORKER, *entry) if _may_use_gloo(job) else entry


def launch_command(job: Job, entry: tuple[Word, ...]) -> tuple[Word, ...]:
    """Returns the command that starts `entry` in every process of one node; each node runs the same command.

    Args:
      job: the job, whose program has the files of `documents`.
      entry: what Python is to run, e.g. ("-m", "acme.train", "train.yaml") or ("train.py", "--fast").
    """
    if not is_launched(job):
        # One host, one process: a rendezvous would only add a way to fail.
        return (RuntimeVar.PYTHON, *entry)
    entry = worker_entry(job, entry)
    launcher = job.run.launcher
    if launcher.kind == "accelerate":
        return (RuntimeVar.PYTHON, "-m", "accelerate.commands.launch", *_accelerate_options(job), *_guarded(entry))
    if launcher.kind == "deepspeed":
        return (RuntimeVar.PYTHON, "-m", "deepspeed.launcher.launch", *_deepspeed_options(job), *_as_module(entry))
    variables = _torchrun_environment(job)
    return (
        *(("env", *(f"{name}={value}" for name, value in variables.items())) if variables else ()),
        *(RuntimeVar.PYTHON, "-m", "torch.distributed.run"),
        *("--nnodes", RuntimeVar.NUM_NODES),
        *("--nproc-per-node", RuntimeVar.PROCS_PER_NODE),
        *_rendezvous(launcher.max_restarts),
        *_guarded(entry),
    )


def is_launched(job: Job) -> bool:
    """Whether torchrun, accelerate or deepspeed starts the processes; one alone, without restarts, needs none."""
    launcher = job.run.launcher
    return launcher.kind != "torchrun" or job.run.strategy.kind != "single" or launcher.max_restarts > 0


def _may_use_gloo(job: Job) -> bool:
    return is_launched(job) and job.topology.accelerator != "gpu"


@functools.cache
def _worker_text() -> str:
    return Path(__file__).with_name("worker.py").read_text(encoding="utf-8")


def _rendezvous(max_restarts: int) -> tuple[Word, ...]:
    """Returns how torchrun's processes meet.

    The static rendezvous keeps one store for all attempts: restarted workers read the addresses of the dead ones there
    and mostly fail (4 of 8 tries came through with torch 2.13). The c10d one makes a new store for each attempt when
    TORCH_DISABLE_SHARE_RDZV_TCP_STORE is set (8 of 8). It numbers nodes as they come, but restarts are for one node.
    """
    if not max_restarts:
        return (
            *("--node-rank", RuntimeVar.NODE_RANK),
            *("--master-addr", RuntimeVar.MASTER_ADDR),
            *("--master-port", RuntimeVar.MASTER_PORT),
        )
    return (
        *("--rdzv-backend", "c10d"),
        *("--rdzv-id", "smtrain"),
        *("--rdzv-endpoint", Concat((RuntimeVar.MASTER_ADDR, ":", RuntimeVar.MASTER_PORT))),
        # Else the host's own name, which need not resolve.
        *("--local-addr", RuntimeVar.MASTER_ADDR),
        *("--max-restarts", str(max_restarts)),
    )


def _accelerate_options(job: Job) -> tuple[Word, ...]:
    return (
        *("--config_file", accelerate_path(job) or ACCELERATE_YAML),
        *("--num_machines", RuntimeVar.NUM_NODES),
        # Over all nodes, which no runtime variable holds.
        *("--num_processes", str(job.topology.world_size)),
        *("--machine_rank", RuntimeVar.NODE_RANK),
        *("--main_process_ip", RuntimeVar.MASTER_ADDR),
        *("--main_process_port", RuntimeVar.MASTER_PORT),
    )


def _deepspeed_options(job: Job) -> tuple[Word, ...]:
    """Returns the options of the part of DeepSpeed's launcher that runs on each node.

    The part above it, `deepspeed.launcher.runner`, adds a host file or ssh, ends with 0 when the part below was killed,
    and leaves its processes behind on SIGTERM (seen with 0.19.8).

    Its processes take the GPUs 0, 1, … of the node, whatever CUDA_VISIBLE_DEVICES says.
    """
    nodes = {f"node-{node}": list(range(job.topology.processes_per_node)) for node in range(job.topology.nodes)}
    return (
        *("--world_info", base64.urlsafe_b64encode(json.dumps(nodes).encode()).decode()),
        *("--node_rank", RuntimeVar.NODE_RANK),
        *("--master_addr", RuntimeVar.MASTER_ADDR),
        *("--master_port", RuntimeVar.MASTER_PORT),
        # Else `--local_rank=N` would stand before the entry's own arguments.
        "--no_local_rank",
    )


def _torchrun_environment(job: Job) -> dict[str, str]:
    """Returns variables for this command alone: a later step that merges a model must not believe it is under FSDP."""
    variables = fsdp_environment(_fsdp_config(job)) if is_fsdp(job) else {}
    if job.run.launcher.max_restarts:
        # See `_rendezvous`.
        variables["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    return variables


def _fsdp_config(job: Job) -> dict[str, Json]:
    config = lay_over({"fsdp_config": dict(FSDP)}, job.run.strategy.overrides).get("fsdp_config")
    return config if isinstance(config, dict) else {}


def _guarded(entry: tuple[Word, ...]) -> tuple[Word, ...]:
    """Doubles a leading `--` among the entry's arguments: every launcher's parser swallows the first."""
    at = 2 if entry[:1] == ("-m",) else 1
    return (*entry[:at], "--", *entry[at:]) if entry[at : at + 1] == ("--",) else entry


def _as_module(entry: tuple[Word, ...]) -> tuple[Word, ...]:
    """Spells `-m` as DeepSpeed's launcher does."""
    guarded = _guarded(entry)
    return ("--module", *guarded[1:]) if guarded[:1] == ("-m",) else guarded


def _own_path(job: Job) -> tuple[str, ...]:
    own = job.run.strategy.document
    return () if own is None else (document_path(own),)
