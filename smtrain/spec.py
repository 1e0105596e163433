"""The intermediate representation: what each pass hands to the next.

`Run` is what the user said, `Job` what follows from it, `Program` what to execute in symbols, `Bundle` what to send in
bytes, `Receipt` what came back. All of it is frozen plain data.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from smtrain.errors import Problem
from smtrain.sections import Compute, Data, Launcher, Model, Storage, Strategy

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]


# ---------------------------------------------------------------------------------------------------------------- Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """A plugin that the run selected by name, and its typed options (an instance of the spec's `options` class)."""

    name: str
    options: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What the user said, typed and complete; nothing derived.

    Attributes:
      name: the run's name, the readable half of its identity.
      global_batch_size: samples per optimizer step over all processes; None leaves it to follow from the other two.
      micro_batch_size: samples per process and forward pass.
      gradient_accumulation_steps: forward passes per optimizer step; None is derived.
      env: environment variables of the workload.
      secrets: variable name → reference to where its value is on the target, e.g. "env:WANDB_API_KEY".
    """

    name: str
    backend: Selected
    trainer: Selected
    model: Model
    data: Data
    strategy: Strategy
    launcher: Launcher
    compute: Compute
    storage: Storage
    global_batch_size: int | None
    micro_batch_size: int | None
    gradient_accumulation_steps: int | None
    seed: int
    env: Mapping[str, str]
    secrets: Mapping[str, str]


# ---------------------------------------------------------------------------------------------------------------- Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """How many processes run where.

    Attributes:
      nodes: hosts.
      processes_per_node: worker processes on each host, one per GPU where there are GPUs.
      accelerator: "gpu", "cpu", or "auto" (a GPU where the target has one).
    """

    nodes: int
    processes_per_node: int
    accelerator: str

    @property
    def world_size(self) -> int:
        """Processes over all nodes."""
        return self.nodes * self.processes_per_node


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Batch arithmetic that adds up: micro_size × accumulation × world size = global_size (samples)."""

    global_size: int
    micro_size: int
    accumulation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFile:
    """A file of this machine that goes into the bundle.

    Attributes:
      path: where it lies here; never part of the bundle's bytes.
      sha256: hex digest of its content.
      size: bytes.
    """

    path: Path
    sha256: str
    size: int


class RowShape(enum.Enum):
    """What a row of training data must carry."""

    TEXT = "text"  # pre-training text
    PROMPT_RESPONSE = "prompt-response"  # supervised fine-tuning
    PREFERENCE = "preference"  # chosen and rejected
    FEEDBACK = "feedback"  # a response and whether it is desirable
    PROMPT = "prompt"  # prompts alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """One data set, resolved.

    Attributes:
      name: its name within the run.
      role: "train" or "eval".
      key: the configuration key it came from, for messages.
      source: "file" (in `files`), "hub", "s3", "script" or "cloud_file".
      location: the repository or URI; for files, the path as the user wrote it.
      files: local files, in name order; empty for remote sources.
      format: "alpaca", "sharegpt" or "openai".
      ranking: whether rows carry chosen and rejected.
      columns: role of a column → its name in the rows; empty means the format's defaults.
      tags: the names used inside chat messages; empty means the format's defaults.
      rows: number of rows, None when unknown.
      attributes: what remains (subset, split, folder, num_samples), as the source spelled it.
    """

    name: str
    role: str
    key: str
    source: str
    location: str
    files: tuple[LocalFile, ...] = ()
    format: str = "alpaca"
    ranking: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    rows: int | None = None
    attributes: Mapping[str, Json] = field(default_factory=dict)


class ModelSource(enum.Enum):
    """Where a model comes from."""

    HUB = "hub"
    FOLDER = "folder"
    S3 = "s3"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedModel:
    """The model, looked at.

    Attributes:
      reference: hub repository, URI or folder exactly as the user wrote it.
      source: which of the three it is.
      fingerprint: digest over the folder's config.json, file names and sizes; "" for a hub or S3 reference.
      config: the folder's config.json; empty when it is not at hand.
    """

    reference: str
    source: ModelSource
    fingerprint: str = ""
    config: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What follows from a run: every derived value, once.

    Attributes:
      run: the run it was derived from.
      topology: nodes and processes.
      batch: batch arithmetic.
      model: the model, looked at.
      adapters: the adapters to start from, or to merge, looked at.
      datasets: the data sets of both roles.
      dataset_info: the user's own dataset_info.json, when the run uses one as it is.
      strategy_document: the user's own DeepSpeed or accelerate document; None when smtrain writes it.
      steps: optimizer steps of the whole training, None when it cannot be known.
      warnings: doubts found on the way.
    """

    run: Run
    topology: Topology
    batch: Batch
    model: ResolvedModel
    datasets: tuple[Dataset, ...]
    adapters: tuple[ResolvedModel, ...] = ()
    dataset_info: bytes | None = None
    strategy_document: bytes | None = None
    steps: int | None = None
    warnings: tuple[Problem, ...] = ()


# ------------------------------------------------------------------------------------------------------------ Program


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
class EnvVar:
    """An environment variable of every step."""

    name: str
    value: Word


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to execute, blind to where.

    Every step runs in one working directory. The backend lays the program's files out in it, links every input and
    every output at its `path`, and binds the runtime variables; so configuration files can name them by relative path.
    """

    steps: tuple[Step, ...]
    files: tuple[TextFile, ...] = ()
    env: tuple[EnvVar, ...] = ()
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    needs: Needs = field(default_factory=Needs)
    progress: Progress | None = None
    metric_patterns: tuple[MetricPattern, ...] = ()


# ------------------------------------------------------------------------------------------------------------- Bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleFile:
    """One file of a bundle: its relative path and its content, as bytes or as a local file to be taken in."""

    path: str
    content: bytes | LocalFile
    executable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Exec:
    """Run a command on this machine, in the bundle's directory.

    Attributes:
      argv: plain words.
      workload: True when the command is the training itself, which is then followed, logged and stoppable; False when
        it only hands the job over.
    """

    argv: tuple[str, ...]
    workload: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What to send, in bytes, and what to do with it, in order.

    Attributes:
      name: the run's name.
      backend: name of the backend that made it.
      trainer: name of the trainer whose program it carries.
      files: every file, at a path relative to the bundle.
      actions: what submitting does, in order.
      progress: where the running program reports its progress, for whoever follows it.
      warnings: doubts found on the way.
    """

    name: str
    backend: str
    trainer: str
    files: tuple[BundleFile, ...]
    actions: tuple[Exec, ...]
    progress: Progress | None = None
    warnings: tuple[Problem, ...] = ()


# ------------------------------------------------------------------------------------------------------------ Receipt


class State(enum.Enum):
    """The life of a run."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    LOST = "lost"  # it was running, and is gone without a word


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What came back from a submission.

    Attributes:
      run_id: name, digest and attempt; the run's folder has this name.
      backend: which backend ran it.
      state: its state when the receipt was written.
      exit_code: the workload's own exit code, once it ended.
      step: the step that failed, or was running last.
      started: POSIX seconds.
      ended: POSIX seconds, once it ended.
    """

    run_id: str
    backend: str
    state: State
    exit_code: int | None = None
    step: str = ""
    started: float = 0.0
    ended: float | None = None
