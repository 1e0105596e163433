"""`Job`: what follows from a run."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from smtrain.errors import Problem
from smtrain.spec.json import Json
from smtrain.spec.run import Run


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
    """Batch arithmetic that adds up: micro_size × accumulation × world size = global_size (samples).

    Attributes:
      global_size: of an optimizer step, over all processes.
      micro_size: of a process's forward pass.
      accumulation: forward passes of an optimizer step.
      by_tokens: micro-batches are filled up to a number of tokens: the global size is what a step aims at, and the
        other two are not what is computed.
    """

    global_size: int
    micro_size: int
    accumulation: int
    by_tokens: bool = False


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
      source: "file" (in `files`), "hub", "s3", "target" (it has them already), "script" or "cloud_file".
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
    TARGET = "target"  # the target already has it


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedModel:
    """The model, looked at.

    Attributes:
      reference: hub repository, URI, folder or `target:` path exactly as the user wrote it.
      source: which of these it is.
      fingerprint: digest over the config.json, file names and sizes of a folder of this machine; "" for any other.
      config: the folder's config.json; empty when it is not at hand.
      chat_template: whether the folder's tokenizer has a chat template; None when it is not at hand.
    """

    reference: str
    source: ModelSource
    fingerprint: str = ""
    config: Mapping[str, Json] = field(default_factory=dict)
    chat_template: bool | None = None


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
