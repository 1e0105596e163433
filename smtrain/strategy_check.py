"""Which strategies, launchers and machines go together, and whether a user's document agrees with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from difflib import get_close_matches

from smtrain import accelerate_check, deepspeed_check
from smtrain.deepspeed_check import Document
from smtrain.deepspeed_document import STAGES
from smtrain.distributed import (
    deepspeed_path,
    generated_accelerate,
    generated_deepspeed,
    is_accelerate_document,
    is_fsdp,
)
from smtrain.errors import Problem, Severity
from smtrain.overrides import lay_over
from smtrain.spec import Job, Json


def check(job: Job) -> Iterator[Problem]:
    """Yields what cannot work, whatever the trainer."""
    yield from _topology(job)
    yield from _launcher(job)
    if job.run.strategy.document is not None:
        yield from _own_document(job, job.run.strategy.document)
    elif job.run.strategy.overrides:
        yield from _overrides(job)


def _topology(job: Job) -> Iterator[Problem]:
    kind, world = job.run.strategy.kind, job.topology.world_size
    if kind == "single" and world > 1:
        key = "compute.nodes" if job.topology.processes_per_node == 1 else "compute.processes_per_node"
        what = (
            f"strategy=single is one process, but {job.topology.nodes} × {job.topology.processes_per_node} = {world}."
        )
        yield Problem(key=key, what=what, fix="Choose strategy=ddp or another, or run one process on one node.")
    if is_fsdp(job) and job.topology.accelerator == "cpu":
        what = (
            f"accelerate {accelerate_check.VERSION} ignores FSDP on CPUs and trains every process with a whole model."
        )
        yield Problem(key="strategy.kind", what=what, fix="Choose strategy=ddp or zero3, or use GPUs.")


def _launcher(job: Job) -> Iterator[Problem]:
    launcher = job.run.launcher
    if is_fsdp(job) and launcher.kind == "deepspeed":
        what = "DeepSpeed's launcher does not set FSDP up."
        yield Problem(key="launcher.kind", what=what, fix="Say launcher=torchrun or launcher=accelerate.")
    if launcher.max_restarts and launcher.kind != "torchrun":
        what = f"the {launcher.kind} launcher restarts nothing."
        yield Problem(key="launcher.max_restarts", what=what, fix="Say launcher=torchrun, or max_restarts=0.")
    elif launcher.max_restarts and job.topology.nodes > 1:
        what = "torchrun restarts the workers of one node; those of the others still wait for the dead ones, and fail."
        yield Problem(key="launcher.max_restarts", what=what, fix="Say 0, and let the backend start the run again.")


def _own_document(job: Job, path: str) -> Iterator[Problem]:
    kind, launcher = job.run.strategy.kind, job.run.launcher.kind
    if job.run.strategy.overrides:
        what = "a document of your own is used as it is, so nothing is laid over it."
        yield Problem(key="strategy.overrides", what=what, fix="Write them into the document.")
    fitting = {"fsdp": "an accelerate YAML", "ddp": "an accelerate YAML, or a DeepSpeed JSON of stage 0"}
    if is_accelerate_document(path):
        if kind not in fitting:
            takes = "a DeepSpeed JSON" if kind in STAGES else "no document"
            yield Problem(key="strategy.document", what=f"{path} is accelerate's, but strategy={kind} takes {takes}.")
        elif launcher != "accelerate":
            what = f"{path} is accelerate's, which the {launcher} launcher does not read."
            yield Problem(key="strategy.document", what=what, fix="Say launcher=accelerate.")
        elif job.strategy_document is not None:
            yield from accelerate_check.check(job.strategy_document, source=path, kind=kind, topology=job.topology)
    elif kind in STAGES or kind == "ddp":
        yield from _own_deepspeed(job)
    else:
        takes = fitting.get(kind, "no document")
        what = f"strategy={kind} takes {takes}."
        yield Problem(key="strategy.document", what=what, fix="Choose strategy=zero2 or another that DeepSpeed does.")


def _own_deepspeed(job: Job) -> Iterator[Problem]:
    document = _deepspeed_document(job, hf_auto=True)
    if isinstance(document, Document):
        yield from deepspeed_check.check(document, job.run.strategy.kind, job.batch, job.topology)
    elif document is not None:
        yield from document


def _deepspeed_document(job: Job, *, hf_auto: bool) -> Document | tuple[Problem, ...] | None:
    """Returns the document that will be used, why it cannot be read, or None where there is none."""
    own = job.run.strategy.document
    if deepspeed_path(job) is None:
        return None
    if own is not None:
        content = job.strategy_document
        return None if content is None else deepspeed_check.read(content, source=own)
    data = generated_deepspeed(job, mixed_precision="no", hf_auto=hf_auto)
    return Document(data=data, key="strategy.overrides")


def _overrides(job: Job) -> Iterator[Problem]:
    if deepspeed_path(job) is not None:
        yield from _own_deepspeed(job)
    elif is_fsdp(job) or job.run.launcher.kind == "accelerate":
        yield from _accelerate_overrides(job)
    else:
        what = (
            f"strategy={job.run.strategy.kind} with launcher={job.run.launcher.kind} has no document to lay them over."
        )
        yield Problem(key="strategy.overrides", what=what, fix="Remove them, or choose another strategy.")


def _accelerate_overrides(job: Job) -> Iterator[Problem]:
    changed = lay_over({}, job.run.strategy.overrides)
    # Torchrun reads no YAML: of its keys only the FSDP settings reach the processes.
    read = accelerate_check.KEYS if job.run.launcher.kind == "accelerate" else frozenset({"fsdp_config"})
    for name in changed:
        if name not in read:
            match = get_close_matches(name, sorted(read), n=1)
            yield Problem(
                key=f"strategy.overrides.{name}",
                what=f"launcher={job.run.launcher.kind} reads no such key.",
                fix=f"Did you mean `{match[0]}`?" if match else "Remove it.",
            )
    config: Json = generated_accelerate(job, mixed_precision="no").get("fsdp_config")
    if is_fsdp(job) and isinstance(config, dict):
        for name, what, fix, severity in accelerate_check.fsdp_findings(config):
            found = Problem(key=f"strategy.overrides.fsdp_config.{name}", what=what, fix=fix)
            yield replace(found, severity=severity) if severity is Severity.WARNING else found
