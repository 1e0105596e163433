"""What a training is told: the document `native.json`, typed.

The compiler writes the document from the very classes that the steps read it with. Standard library only.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

Kind = Literal["sft", "preference"]
PromptType = Literal["chat", "completion"]
Policy = Literal["drop", "keep", "error"]
TooLong = Literal["drop", "truncate", "error"]
LossKind = Literal["sft", "dpo", "ipo", "hinge", "cdpo", "ln_dpo", "simpo", "sampo", "orpo"]
Schedule = Literal["cosine", "linear", "inverse_sqrt", "constant"]
Precision = Literal["bf16", "fp32"]
Reporter = Literal["tensorboard", "wandb", "mlflow"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """One data set.

    Attributes:
      name: its name within the run.
      role: "train" or "eval".
      files: paths relative to the working directory, or `hub:ORG/NAME`.
      format: "alpaca" (columns), "sharegpt" or "openai" (messages).
      columns: role → column in the rows; complete, no default is added.
      tags: names used inside messages; complete.
      weight: how often its rows appear in an epoch; 0.5 draws half of them, 2.0 takes each twice.
      num_samples: draw so many rows before the weight counts.
      subset: of a hub data set.
      split: of a hub data set.
    """

    name: str
    role: Literal["train", "eval"]
    files: tuple[str, ...]
    format: str = "alpaca"
    columns: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    weight: float = 1.0
    num_samples: int | None = None
    subset: str | None = None
    split: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Rows, and how they become tokens.

    Attributes:
      sets: the data sets of both roles.
      prompt_type: "chat" lays the tokenizer's chat template around prompt and response, "completion" joins them bare.
      max_length: tokens of one sequence, prompt and response; a pair's bound is that of its longer sequence.
      too_long: what becomes of a sequence above max_length.
      duplicates: what becomes of a row whose prompt_id was seen before in its set.
      identical: what becomes of a pair whose two responses are the same.
      append_eos: whether a completion ends in the tokenizer's end-of-sequence token.
      workers: processes that tokenise; None takes one for each core.
      cache_dir: folder that keeps tokens and reference log-probabilities; None takes $SMTRAIN_CACHE_DIR, else the
        user's cache folder.
    """

    sets: tuple[DataSet, ...]
    prompt_type: PromptType = "chat"
    max_length: int = 2048
    too_long: TooLong = "drop"
    duplicates: Policy = "drop"
    identical: Policy = "drop"
    append_eos: bool = True
    workers: int | None = None
    cache_dir: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The model.

    Attributes:
      path: a folder, relative to the working directory, or a hub repository.
      revision: of a repository.
      adapter: a peft adapter to go on from, a folder or repository.
      trust_remote_code: run the code that comes with the model.
      attention: how packed sequences attend: "flash" in one kernel, "segments" one after another, "separate" passes
        each sequence through the model alone; "auto" takes the fastest that device and model have.
    """

    path: str
    revision: str | None = None
    adapter: str | None = None
    trust_remote_code: bool = False
    attention: Literal["auto", "segments", "flash", "separate"] = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Which weights are trained.

    Attributes:
      kind: "full" or "lora".
      rank: of the LoRA matrices.
      alpha: LoRA's scale is alpha / rank; None is 2 × rank.
      dropout: in front of the LoRA matrices.
      targets: linear layers by name; ("all",) is every one but the head.
    """

    kind: Literal["full", "lora"] = "lora"
    rank: int = 16
    alpha: float | None = None
    dropout: float = 0.0
    targets: tuple[str, ...] = ("all",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """The loss; `losses.py` has the equations.

    Attributes:
      kind: which.
      beta: strength of the KL constraint; of ORPO, weight of the odds ratio.
      label_smoothing: share of pairs believed to be labelled the wrong way round (cdpo).
      gamma: margin that SimPO asks for, nats per token, already divided by beta.
      sft_weight: weight of the chosen response's negative log-likelihood per token, added to a preference loss.
    """

    kind: LossKind = "sft"
    beta: float = 0.1
    label_smoothing: float = 0.0
    gamma: float = 0.5
    sft_weight: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """How samples become micro-batches.

    Attributes:
      max_tokens_per_device: no micro-batch holds more tokens.
      batch_size: samples of one optimizer step, over all processes.
      accumulation: micro-batches of each process and step; None takes as many as batch_size needs.
      share_prompts: compute the prompt of a pair once.
    """

    max_tokens_per_device: int = 8192
    batch_size: int = 32
    accumulation: int | None = None
    share_prompts: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimizer:
    """AdamW and its learning rate.

    Attributes:
      learning_rate: the highest.
      weight_decay: of matrices; biases and norms have none.
      beta1: of the gradient's running mean.
      beta2: of its square's.
      epsilon: added to the root.
      max_grad_norm: gradients are scaled down to it; None leaves them.
      schedule: after the warm-up.
      warmup: steps of linear warm-up; below 1 a share of all steps.
      min_ratio: the learning rate at the end of "cosine" and "linear", as a share of the highest.
    """

    learning_rate: float = 1e-5
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    max_grad_norm: float | None = 1.0
    schedule: Schedule = "cosine"
    warmup: float = 0.1
    min_ratio: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How long, and how exactly.

    Attributes:
      epochs: passes over the data.
      max_steps: optimizer steps, whatever epochs says.
      precision: of the computation; weights that are trained are fp32 in either.
      gradient_checkpointing: compute layers again in the backward pass instead of keeping them.
      non_finite: what a loss or gradient that is not finite does: "stop" ends the training, "skip" leaves the step out.
      log_every: steps between two lines of metrics.
    """

    epochs: float = 1.0
    max_steps: int | None = None
    precision: Precision = "bf16"
    gradient_checkpointing: bool = False
    non_finite: Literal["stop", "skip"] = "stop"
    log_every: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallel:
    """How the training is spread.

    Attributes:
      kind: "single", "ddp" or "deepspeed".
      deepspeed: path of DeepSpeed's document, relative to the working directory.
      device: "auto" takes a GPU where there is one.
    """

    kind: Literal["single", "ddp", "deepspeed"] = "single"
    deepspeed: str | None = None
    device: Literal["auto", "gpu", "cpu"] = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoints:
    """When the training's state is saved.

    Attributes:
      every: optimizer steps between two; None saves none.
      keep: the newest so many stay.
    """

    every: int | None = 500
    keep: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """When the evaluation sets are looked at.

    Attributes:
      every: optimizer steps between two; None is at the end alone.
      sets: names of evaluation sets; () is all.
    """

    every: int | None = None
    sets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reports:
    """Where metrics go beside the log and metrics.jsonl.

    Attributes:
      to: the trackers.
      project: of W&B, and MLflow's experiment.
      name: of the run there.
    """

    to: tuple[Reporter, ...] = ()
    project: str = "smtrain"
    name: str = "smtrain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole document.

    Attributes:
      reference: a file of reference log-probabilities computed before; None computes and caches them.
      output_dir: receives checkpoints, metrics and the final model, relative to the working directory.
    """

    kind: Kind
    model: Model
    data: Data
    tuning: Tuning = field(default_factory=Tuning)
    loss: Loss = field(default_factory=Loss)
    batching: Batching = field(default_factory=Batching)
    optimizer: Optimizer = field(default_factory=Optimizer)
    training: Training = field(default_factory=Training)
    parallel: Parallel = field(default_factory=Parallel)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    evaluation: Evaluation = field(default_factory=Evaluation)
    reports: Reports = field(default_factory=Reports)
    reference: str | None = None
    output_dir: str = "output"
    seed: int = 42


def read(path: Path) -> Settings:
    """Reads a document."""
    return parse(Settings, json.loads(path.read_text(encoding="utf-8")))


def text(settings: Settings) -> str:
    """Returns the document of some settings, the same bytes for the same settings."""
    return json.dumps(dataclasses.asdict(settings), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def parse(kind: type[T], value: object) -> T:
    """Returns plain data as an instance of one of these classes.

    Raises:
      TypeError: it holds a key that the class has not, or lacks one.
    """
    if not isinstance(value, Mapping):
        message = f"{kind.__name__}: {value!r} is no object"
        raise TypeError(message)
    hints = typing.get_type_hints(kind)
    return kind(**{name: _typed(hints.get(name), each) for name, each in value.items()})


def _typed(hint: object, value: object) -> object:
    if isinstance(hint, types.UnionType):
        return None if value is None else _typed(typing.get_args(hint)[0], value)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return parse(hint, value)
    if typing.get_origin(hint) is tuple and isinstance(value, list):
        return tuple(_typed(typing.get_args(hint)[0], each) for each in value)
    return value
