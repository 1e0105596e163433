"""The options of the native trainers: what may stand in the `trainer` section.

Their fields are those of `runtime.settings`, under the same names, where a run has no place of its own for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

from smtrain.plugin import PositiveInt
from smtrain_native.runtime.settings import Policy, Precision, PromptType, Reporter, Schedule, TooLong

PreferenceLoss = Literal["dpo", "ipo", "hinge", "cdpo", "ln_dpo", "simpo", "sampo", "orpo"]

Share = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Name = Annotated[str, Meta(min_length=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Which weights are trained."""

    kind: Annotated[
        Literal["lora", "full"], Meta(description="lora trains small matrices beside linear layers, full every weight.")
    ] = "lora"
    rank: Annotated[PositiveInt, Meta(description="Rank of the LoRA matrices.")] = 16
    alpha: Annotated[
        Positive | None, Meta(description="LoRA's scale is alpha / rank; None takes 2 × rank as alpha.")
    ] = None
    dropout: Annotated[float, Meta(ge=0, lt=1, description="Dropout in front of the LoRA matrices.")] = 0.0
    targets: Annotated[
        tuple[Name, ...],
        Meta(min_length=1, description="Linear layers that get LoRA matrices, by name; [all] is all but the head."),
    ] = ("all",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """The loss of preference training."""

    kind: Annotated[
        PreferenceLoss,
        Meta(
            description="dpo (sigmoid), ipo, hinge, cdpo (with label_smoothing), ln_dpo (length-normalised), simpo "
            "(no reference, margin gamma), sampo, orpo (no reference)."
        ),
    ] = "dpo"
    beta: Annotated[
        Positive, Meta(description="Strength of the KL constraint; of ORPO, the weight of the odds ratio.")
    ] = 0.1
    label_smoothing: Annotated[
        float, Meta(ge=0, lt=0.5, description="Share of pairs believed to be labelled the wrong way round (cdpo).")
    ] = 0.0
    gamma: Annotated[
        float, Meta(ge=0, description="Margin that SimPO asks for, nats per token, already divided by beta.")
    ] = 0.5
    sft_weight: Annotated[
        NotNegative,
        Meta(description="Weight of the chosen response's negative log-likelihood per token, added to the loss."),
    ] = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimizer:
    """AdamW and its learning rate."""

    learning_rate: Annotated[Positive, Meta(description="The highest learning rate.")] = 1e-5
    weight_decay: Annotated[NotNegative, Meta(description="Of matrices; biases and norms have none.")] = 0.0
    beta1: Annotated[float, Meta(ge=0, lt=1, description="Decay of the gradient's running mean.")] = 0.9
    beta2: Annotated[float, Meta(ge=0, lt=1, description="Decay of its square's running mean.")] = 0.999
    epsilon: Annotated[Positive, Meta(description="Added to the root of the running mean of squares.")] = 1e-8
    max_grad_norm: Annotated[
        Positive | None, Meta(description="Gradients are scaled down to this norm; None leaves them as they are.")
    ] = 1.0
    schedule: Annotated[Schedule, Meta(description="The learning rate after the warm-up.")] = "cosine"
    warmup: Annotated[
        NotNegative, Meta(description="Steps of linear warm-up; a number below 1 is a share of all steps.")
    ] = 0.1
    min_ratio: Annotated[
        Share, Meta(description="Learning rate at the end of cosine and linear, as a share of the highest.")
    ] = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoints:
    """When the training's state is saved."""

    every: Annotated[PositiveInt | None, Meta(description="Optimizer steps between two; None saves none.")] = 500
    keep: Annotated[PositiveInt, Meta(description="The newest so many stay.")] = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """When the evaluation sets are looked at."""

    every: Annotated[
        PositiveInt | None, Meta(description="Optimizer steps between two; None evaluates at the end alone.")
    ] = None
    sets: Annotated[
        tuple[Name, ...], Meta(description="Names of the evaluation sets to look at; [] is all of them.")
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reports:
    """Where metrics go, beside the log and metrics.jsonl."""

    to: Annotated[tuple[Reporter, ...], Meta(description="Trackers.")] = ()
    project: Annotated[Name | None, Meta(description="W&B's project, MLflow's experiment; None takes `smtrain`.")] = (
        None
    )
    name: Annotated[Name | None, Meta(description="The run's name there; None takes the root key `name`.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Merging the trained adapter into its model, after the training."""

    enabled: Annotated[bool, Meta(description="Merge after a training that succeeded; the result is in `merged`.")] = (
        False
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeOptions:
    """A training with our own trainer."""

    max_tokens_per_device: Annotated[
        PositiveInt, Meta(description="No micro-batch holds more tokens; it takes the place of micro_batch_size.")
    ] = 8192
    max_length: Annotated[
        PositiveInt, Meta(description="Tokens of one sequence, prompt and response together; of a pair, of the longer.")
    ] = 2048
    prompt_type: Annotated[
        PromptType,
        Meta(description="chat lays the tokenizer's chat template around prompt and response, completion joins them."),
    ] = "chat"
    append_eos: Annotated[
        bool, Meta(description="Whether a completion ends in the tokenizer's end-of-sequence token.")
    ] = True
    too_long: Annotated[TooLong, Meta(description="What becomes of a sequence above max_length.")] = "drop"
    duplicates: Annotated[
        Policy, Meta(description="What becomes of a row whose prompt_id was seen before in its data set.")
    ] = "drop"
    weights: Annotated[
        Mapping[str, Positive],
        Meta(
            description="Data set → how often its rows appear in an epoch: 0.5 draws half of them, 2 takes each twice."
        ),
    ] = field(default_factory=dict)
    max_samples: Annotated[
        PositiveInt | None,
        Meta(
            description="Draw so many rows of each data set that has more, or whose rows no compile can count; "
            "for a quick try."
        ),
    ] = None
    workers: Annotated[
        PositiveInt | None, Meta(description="Processes of a node that tokenise; None takes one for each core.")
    ] = None
    cache_dir: Annotated[
        Name | None,
        Meta(
            description="Folder of the target that keeps tokens and reference log-probabilities; None takes "
            "$SMTRAIN_CACHE_DIR, else the user's cache folder.",
        ),
    ] = None
    tuning: Tuning = field(default_factory=Tuning)
    optimizer: Optimizer = field(default_factory=Optimizer)
    epochs: Annotated[Positive, Meta(description="Passes over the data.")] = 1.0
    max_steps: Annotated[PositiveInt | None, Meta(description="Optimizer steps, whatever epochs says.")] = None
    precision: Annotated[
        Precision, Meta(description="Of the computation; weights that are trained are kept in fp32 in either.")
    ] = "bf16"
    attention: Annotated[
        Literal["auto", "segments", "flash", "separate"],
        Meta(
            description="How packed sequences attend: flash in one kernel, segments one after another, separate passes "
            "each through the model by itself; auto takes the fastest that device and model allow."
        ),
    ] = "auto"
    gradient_checkpointing: Annotated[
        bool, Meta(description="Compute layers again in the backward pass instead of keeping what they made.")
    ] = False
    non_finite: Annotated[
        Literal["stop", "skip"],
        Meta(description="A loss or gradient that is not finite: stop ends the training, skip leaves the step out."),
    ] = "stop"
    log_every: Annotated[PositiveInt, Meta(description="Optimizer steps between two lines of metrics.")] = 1
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    evaluation: Evaluation = field(default_factory=Evaluation)
    reports: Reports = field(default_factory=Reports)
    export: Export = field(default_factory=Export)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceOptions(NativeOptions):
    """A preference training with our own trainer."""

    loss: Loss = field(default_factory=Loss)
    identical: Annotated[Policy, Meta(description="What becomes of a pair whose two responses are the same.")] = "drop"
    share_prompts: Annotated[bool, Meta(description="Compute the prompt of a pair once.")] = True
    reference: Annotated[
        Name | None,
        Meta(
            description="A file of reference log-probabilities computed before: of this machine, an s3:// URI or "
            "target:/PATH; None computes them in a step before the training.",
        ),
    ] = None
