"""What is wrong with a DeepSpeed JSON, found without DeepSpeed.

DeepSpeed's own reader misses most of it: an unknown top-level key is ignored, a stage of "auto" becomes 0, an optimizer
that does not exist fails once the model is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from smtrain import deepspeed_keys as known
from smtrain.errors import Origin, Problem, Severity
from smtrain.json_positions import Key, keys
from smtrain.sections import StrategyKind
from smtrain.spec import Batch, Json, Topology

_AUTO = "auto"
_LAST_STAGE = 3
_ZERO = "zero_optimization"
_SAVES_WHOLE = (
    "stage3_gather_16bit_weights_on_model_save",
    "gather_16bit_weights_on_model_save",
    "stage3_gather_fp16_weights_on_model_save",
)
_OTHER_PARALLELISM = ("sequence_parallel_size", "tensor_parallel")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A DeepSpeed document and where it came from.

    Attributes:
      data: the outermost object.
      key: the configuration key to blame.
      source: the file it stands in; "" for one that smtrain wrote, whose keys are then blamed under `key`.
      lines: dotted path of a key → its line in the file.
    """

    data: Mapping[str, Json]
    key: str
    source: str = ""
    lines: Mapping[str, int] = field(default_factory=dict)

    def section(self, path: str) -> Mapping[str, Json]:
        """Returns the object at a dotted path, empty when there is none."""
        node: Json = dict(self.data)
        for name in path.split("."):
            node = node.get(name) if isinstance(node, dict) else None
        return node if isinstance(node, dict) else {}

    def problem(self, path: str, what: str, fix: str = "", severity: Severity = Severity.ERROR) -> Problem:
        """Returns a problem with the key at `path`."""
        if not self.source:
            return Problem(key=f"{self.key}.{path}", what=what, fix=fix, severity=severity)
        where = Origin(source=self.source, line=self.lines.get(path))
        return Problem(key=self.key, what=f"{path}: {what}", fix=fix, severity=severity, where=where)


def read(content: bytes, *, source: str, key: str = "strategy.document") -> Document | tuple[Problem, ...]:
    """Returns the document in a file's content, or why it is none."""

    def unreadable(what: str, line: int | None = None) -> Problem:
        return Problem(key=key, what=what, where=Origin(source=source, line=line), fix="Mend the file.")

    try:
        text = content.decode()
        data: Json = json.loads(text)
    except UnicodeDecodeError as error:
        return (unreadable(f"This is not UTF-8: {error.reason} at byte {error.start}."),)
    except json.JSONDecodeError as error:
        return (unreadable(f"This is not JSON: {error.msg}, column {error.colno}.", error.lineno),)
    except RecursionError:
        return (unreadable("This is nested too deeply."),)
    if not isinstance(data, dict):
        return (unreadable("A DeepSpeed document is a JSON object.", 1),)
    found = tuple(keys(text))
    if repeated := [item for item in found if item.repeated]:
        return tuple(unreadable(_repeated(item), item.line) for item in repeated)
    return Document(data=data, key=key, source=source, lines={item.path: item.line for item in found})


def kind_of(document: Document) -> StrategyKind | None:
    """Returns the strategy that a document amounts to, None when its stage is none; stage 0 is data parallelism."""
    zero = document.section("zero_optimization")
    optimizer, param = _offloads(zero, "offload_optimizer"), _offloads(zero, "offload_param")
    match zero.get("stage", 0):
        case bool():
            return None
        case 0:
            return "ddp"
        case 1:
            return "zero1"
        case 2:
            return "zero2_offload" if optimizer else "zero2"
        case 3:
            return "zero3_offload" if optimizer or param else "zero3"
    return None


_AUTO_OF_DEEPSPEED = frozenset({"data_types.keep_in_fp32_modules", "pipeline.stages"})
"""Where "auto" is DeepSpeed's own word."""


def check(document: Document, kind: StrategyKind, batch: Batch, topology: Topology) -> Iterator[Problem]:
    """Yields what is wrong with the document, and where it contradicts the run."""
    yield from _unknown_keys(document)
    yield from _stage(document, kind)
    yield from _batch(document, batch, topology)
    yield from _precision(document, topology)
    yield from _optimizer(document)


def _unknown_keys(document: Document) -> Iterator[Problem]:
    readable = known.TOP_LEVEL | known.READ_ELSEWHERE
    for name in document.data:
        if name in known.REMOVED:
            yield document.problem(name, f"DeepSpeed {known.VERSION} has this no longer and refuses it.", "Remove it.")
        elif not name.startswith("_") and name not in readable:
            yield _ignored(document, name, readable)
    for section, fields in known.SECTIONS.items():
        for name in document.section(section):
            path = f"{section}.{name}"
            if path in known.REMOVED:
                yield document.problem(path, f"DeepSpeed {known.VERSION} has this no longer.", "Remove it.")
            elif name not in fields:
                yield document.problem(path, f"unknown key of DeepSpeed {known.VERSION}.", _hint(name, fields))


def _ignored(document: Document, name: str, readable: frozenset[str]) -> Problem:
    """An unknown top-level key does no harm by itself; one that looks like another was meant to be it."""
    hint = _hint(name, readable)
    return document.problem(
        name,
        f"DeepSpeed {known.VERSION} knows no such key and ignores it.",
        hint or "Remove it, or start its name with `_` if it is a comment.",
        Severity.ERROR if hint else Severity.WARNING,
    )


def _stage(document: Document, kind: StrategyKind) -> Iterator[Problem]:
    zero = document.data.get("zero_optimization", {})
    if not isinstance(zero, dict):
        yield document.problem("zero_optimization", f"{zero!r} is not an object.", 'Say {"stage": 2}, for example.')
        return
    stage = zero.get("stage", 0)
    if isinstance(stage, bool) or not isinstance(stage, int) or not 0 <= stage <= _LAST_STAGE:
        what = f"{json.dumps(stage)} is not a stage; DeepSpeed takes what is no number for 0."
        yield document.problem("zero_optimization.stage", what, "Say 0, 1, 2 or 3.")
        return
    if stage < _LAST_STAGE and _offloads(zero, "offload_param"):
        what = f"parameters are not sharded at stage {stage}, so DeepSpeed does not offload them."
        yield document.problem("zero_optimization.offload_param", what, "Use stage 3, or remove it.")
    if stage == _LAST_STAGE and not any(zero.get(name) for name in _SAVES_WHOLE):
        what = f"{_SAVES_WHOLE[0]} is not true: only shards are saved, no model that can be loaded as it is."
        yield document.problem("zero_optimization", what, f'Add "{_SAVES_WHOLE[0]}": true.', Severity.WARNING)
    meant = kind_of(document)
    misspelt = any(_hint(name, known.TOP_LEVEL) == _hint(_ZERO, known.TOP_LEVEL) for name in document.data)
    if meant not in {None, kind} and (_ZERO in document.data or not misspelt):
        what = f"stage {stage}{_offloaded(zero)} is strategy={meant}, but the run says strategy={kind}."
        yield document.problem("zero_optimization", what, f"Say strategy.kind={meant}, or change the document.")


def _batch(document: Document, batch: Batch, topology: Topology) -> Iterator[Problem]:
    world = topology.world_size
    expected = {
        "train_micro_batch_size_per_gpu": (batch.micro_size, "the run's micro batch size"),
        "gradient_accumulation_steps": (batch.accumulation, "the run's gradient accumulation steps"),
        "train_batch_size": (
            batch.global_size,
            f"{batch.micro_size} × {batch.accumulation} × {world} process{'es' if world > 1 else ''}",
        ),
    }
    for name, (size, reason) in expected.items():
        value = document.data.get(name, size)
        if name == "train_batch_size" and any(other in document.data for other in _OTHER_PARALLELISM):
            continue
        if value not in (size, _AUTO) or isinstance(value, bool):
            what = f"{json.dumps(value)} ≠ {reason} = {size}."
            yield document.problem(name, what, f'Say {size}, or "auto" where the trainer fills that in.')


def _precision(document: Document, topology: Topology) -> Iterator[Problem]:
    fp16 = document.section("fp16").get("enabled") is True
    bf16 = any(document.section(name).get("enabled") is True for name in ("bf16", "bfloat16"))
    if fp16 and bf16:
        yield document.problem("fp16.enabled", "fp16 and bf16 are both on.", "Turn one of them off.")
    elif fp16 and topology.accelerator == "cpu":
        yield document.problem("fp16.enabled", "DeepSpeed does not train in fp16 on CPUs.", "Use bf16.")


def _optimizer(document: Document) -> Iterator[Problem]:
    name = document.section("optimizer").get("type")
    if "optimizer" not in document.data or name in known.TORCH_OPTIMIZERS:
        return
    if not isinstance(name, str) or name.lower() not in known.OPTIMIZERS:
        choices = known.OPTIMIZERS | known.TORCH_OPTIMIZERS
        what = f"{json.dumps(name)} is no optimizer of DeepSpeed {known.VERSION} or torch.optim."
        fix = _hint(str(name), choices) or f"Choose one of: {', '.join(sorted(choices, key=str.lower))}."
        yield document.problem("optimizer.type", what, fix)


def _offloads(zero: Mapping[str, Json], name: str) -> bool:
    target = zero.get(name)
    return isinstance(target, dict) and target.get("device", "none") != "none"


def _offloaded(zero: Mapping[str, Json]) -> str:
    return " with offload" if any(_offloads(zero, name) for name in ("offload_optimizer", "offload_param")) else ""


def _hint(name: str, choices: frozenset[str]) -> str:
    # Stricter than for settings of our own, where every unknown name is an error: "comms_config" is no "comms_logger".
    match = next(iter(get_close_matches(name, sorted(choices), n=1, cutoff=0.75)), None)
    return f"Did you mean `{match}`?" if match else ""


def _repeated(item: Key) -> str:
    return f"{item.path} stands here again, column {item.column}; DeepSpeed refuses a key that stands twice."
