"""`Program`: what to execute, in symbols."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from smtrain.spec.job import LocalFile


class RuntimeVar(enum.Enum):
    """A value that only the target knows; a backend binds every one, a trainer never spells the target's own names."""

    PYTHON = "PYTHON"
    NODE_RANK = "NODE_RANK"
    NUM_NODES = "NUM_NODES"
    MASTER_ADDR = "MASTER_ADDR"
    MASTER_PORT = "MASTER_PORT"
    PROCS_PER_NODE = "PROCS_PER_NODE"
    MODEL_DIR = "MODEL_DIR"
    CHECKPOINT_DIR = "CHECKPOINT_DIR"
    OUTPUT_DIR = "OUTPUT_DIR"
    SCRATCH_DIR = "SCRATCH_DIR"


@dataclass(frozen=True, slots=True, kw_only=True)
class InputPath:
    """The path at which the input of this name is found on the target."""

    name: str


@dataclass(frozen=True, slots=True)
class Concat:
    """One word made of several parts, e.g. `--dir=` and a runtime variable."""

    parts: tuple[str | RuntimeVar | InputPath, ...]


@dataclass(frozen=True, slots=True)
class Resume:
    """One word, `prefix` + the newest complete checkpoint, when there is one to resume from; otherwise no word."""

    prefix: str = ""


Word = str | RuntimeVar | InputPath | Concat | Resume


class Scope(enum.Enum):
    """On which nodes a step runs."""

    EVERY_NODE = "every-node"
    FIRST_NODE = "first-node"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command. A later step runs only if the earlier ones succeeded; its exit code is the job's.

    Attributes:
      name: unique within the program; lower-case words joined by "-".
      argv: the words of the command; it runs in the working directory.
      scope: on which nodes.
      distributed: whether the command is a launcher that starts PROCS_PER_NODE processes.
    """

    name: str
    argv: tuple[Word, ...]
    scope: Scope = Scope.FIRST_NODE
    distributed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFile:
    """A file of the program, at a path relative to the working directory."""

    path: str
    text: str


class Staging(enum.Enum):
    """How an input comes to the target."""

    BUNDLED = "bundled"  # local files that travel inside the bundle
    IN_PLACE = "in-place"  # a folder that the target already has
    COPY = "copy"  # copied from S3 before the first step


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """Something the program reads.

    Attributes:
      name: unique within the program.
      uri: S3 URI, or a path as the user wrote it.
      staging: how it comes to the target.
      path: where the program expects it, relative to the working directory; a file, or a folder.
      files: the local files, for `BUNDLED`: one file stands for `path` itself, several lie inside it by their names.
      fingerprint: what the content was at compile time, where that is known.
    """

    name: str
    uri: str
    staging: Staging
    path: str
    files: tuple[LocalFile, ...] = ()
    fingerprint: str = ""


class OutputKind(enum.Enum):
    """What an output is, which decides when and where a backend keeps it."""

    MODEL = "model"
    CHECKPOINTS = "checkpoints"
    LOGS = "logs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Something the program writes.

    Attributes:
      name: unique within the program.
      path: a folder relative to the working directory; the backend makes it and keeps what is written there.
      kinds: what it holds.
      checkpoint_glob: names of checkpoint folders inside it, e.g. "checkpoint-*"; "" when it holds none.
      checkpoint_complete: a file whose presence says that a checkpoint folder is whole.
    """

    name: str
    path: str
    kinds: tuple[OutputKind, ...]
    checkpoint_glob: str = ""
    checkpoint_complete: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricPattern:
    """A metric that the program prints: its name, and a regular expression whose first group is the number."""

    name: str
    regex: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where the program writes its progress: a JSON-lines file, and which of its fields mean what.

    Attributes:
      path: relative to the working directory.
      step: field with the number of optimizer steps done.
      total: field with the number of steps in all.
      metrics: metric name → field.
    """

    path: str
    step: str
    total: str
    metrics: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A Python distribution that must be importable on the target, with a version specifier such as "==0.9.5"."""

    name: str
    specifier: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What the program asks of its target."""

    gpus_per_node: int = 0
    python: str = ">=3.11"
    packages: tuple[Package, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What a training keeps in memory, in the trainer's own words.

    Attributes:
      tuning: which weights are trained.
      weight_bytes: of each weight that is not trained, and of the trained ones without mixed precision: 2 in bf16, 4
        in fp32; where `tuning` is "qlora", of the linear layers alone, about 0.52 with double quantisation.
      lora_rank: rank of the adapters.
      lora_targets: linear layers with an adapter, as the model names them; ("all",) is all of them.
      trainable_layers: for "freeze": how many of the last layers are trained.
      optimizer: its name, e.g. "adamw_torch"; "8bit" inside makes its states one byte each.
      sequence_length: tokens of the longest sample.
      micro_batch_size: samples of one forward pass.
      gradient_checkpointing: whether layers are computed again in the backward pass.
      sequences_per_sample: 2 for pairs of preferences.
      reference_model: whether a second, frozen copy of the model is held.
      flash_attention: whether attention never holds all scores (flash-attn, SDPA).
      mixed_precision: bf16 or fp16 computation over fp32 weights; False is everything in `weight_bytes`.
      loss_bytes: what the loss holds at its peak, where it never has the logits of all tokens; None is that it has.
    """

    tuning: Literal["full", "lora", "qlora", "freeze"]
    weight_bytes: float
    optimizer: str
    sequence_length: int
    micro_batch_size: int
    gradient_checkpointing: bool
    lora_rank: int | None = None
    lora_targets: tuple[str, ...] = ("all",)
    trainable_layers: int | None = None
    sequences_per_sample: int = 1
    reference_model: bool = False
    flash_attention: bool = True
    mixed_precision: bool = True
    loss_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Saves:
    """When a training saves checkpoints to go on from, as far as that is known before it runs.

    Attributes:
      every_steps: optimizer steps between two; None saves none before the training's end.
      key: the configuration key that says so.
      on_request: whether one is saved after the optimizer step during which the training is asked to end (SIGTERM).
      tokens_per_step: that an optimizer step trains on, over all processes; None when nothing is known of it.
      length_key: the configuration key of the length of samples, where `tokens_per_step` are those of a step whose
        samples are all as long as it allows; "" where every step has so many.
    """

    every_steps: int | None
    key: str
    on_request: bool = False
    tokens_per_step: int | None = None
    length_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvVar:
    """An environment variable of every step."""

    name: str
    value: Word


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to execute, blind to where.

    Every step runs in one working directory. The backend lays the program's files out in it, links every input and
    every output at its `path`, and binds the runtime variables; so configuration files can name them by relative path.

    Attributes:
      steps: in their order.
      files: what this run alone has.
      library: files that do not depend on the run, such as the trainer's own sources; a backend need keep them once.
      env: environment variables of every step.
      inputs: what the program reads.
      outputs: what it writes.
      needs: what it asks of its target.
      progress: where it reports its progress.
      metric_patterns: metrics in the lines that it prints.
      footprint: what it keeps in memory; None when that is not known.
      saves: when it saves checkpoints; None when that is not known, or it makes none.
    """

    steps: tuple[Step, ...]
    files: tuple[TextFile, ...] = ()
    library: tuple[TextFile, ...] = ()
    env: tuple[EnvVar, ...] = ()
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    needs: Needs = field(default_factory=Needs)
    progress: Progress | None = None
    metric_patterns: tuple[MetricPattern, ...] = ()
    footprint: Footprint | None = None
    saves: Saves | None = None
