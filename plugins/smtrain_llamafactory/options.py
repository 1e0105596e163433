"""The options of the LLaMA-Factory trainers: what may stand in the `trainer` section."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

Arguments = Mapping[str, object]

Version = Annotated[
    str, Meta(description="Version of LLaMA-Factory on the target; the schema of `args` is that version's.")
]
OmitDefaults = Annotated[
    tuple[str, ...],
    Meta(
        description="Derived arguments to leave out of the YAML while they equal LLaMA-Factory's own default; "
        "`smtrain import` sets it, so that a YAML comes back as it was."
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Merging the trained adapter into its model, after the training."""

    enabled: Annotated[bool, Meta(description="Merge after a training that succeeded.")] = False
    args: Annotated[
        Arguments, Meta(description="Arguments of `llamafactory-cli export`, e.g. export_size, export_device.")
    ] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluate:
    """Computing the loss on the evaluation data, after the training."""

    enabled: Annotated[bool, Meta(description="Evaluate after a training that succeeded.")] = False
    args: Annotated[
        Arguments, Meta(description="Arguments that differ from the training's, e.g. per_device_eval_batch_size.")
    ] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Predict:
    """Answering the prompts of the evaluation data, after the training."""

    enabled: Annotated[bool, Meta(description="Predict after a training that succeeded.")] = False
    args: Annotated[
        Arguments, Meta(description="Arguments that differ from the training's, e.g. max_new_tokens, temperature.")
    ] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaFactoryOptions:
    """A training with LLaMA-Factory."""

    version: Version = "0.9.5"
    engine: Annotated[
        Literal["hf", "v1", "mcore"],
        Meta(
            description="LLaMA-Factory's engine: hf is the ordinary one; v1 (USE_V1) and mcore (USE_MCA) are "
            "experimental, and their arguments are passed on unchecked."
        ),
    ] = "hf"
    args: Annotated[Arguments, Meta(description="LLaMA-Factory's own arguments, as in its YAML files.")] = field(
        default_factory=dict
    )
    export: Export = field(default_factory=Export)
    evaluate: Evaluate = field(default_factory=Evaluate)
    predict: Predict = field(default_factory=Predict)
    ppo_capable_environment: Annotated[
        bool,
        Meta(
            description="The target's environment holds a LLaMA-Factory that was patched to run PPO; as released, "
            "0.9.5 cannot."
        ),
    ] = False
    omit_defaults: OmitDefaults = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOnlyOptions:
    """Work on a model without training: merging it, or serving it."""

    version: Version = "0.9.5"
    engine: Annotated[
        Literal["hf", "v1"], Meta(description="v1 merges with LLaMA-Factory's experimental engine (USE_V1).")
    ] = "hf"
    args: Annotated[Arguments, Meta(description="LLaMA-Factory's own arguments, as in its YAML files.")] = field(
        default_factory=dict
    )
    omit_defaults: OmitDefaults = ()


def args_schema(options: Mapping[str, object]) -> Mapping[str, object]:
    """Returns the JSON Schema of `trainer.args`: that of the chosen version, or anything for another engine."""
    from smtrain_llamafactory import arguments  # only schemas and explanations need it

    version = str(options.get("version", LlamaFactoryOptions().version))
    known = options.get("engine", "hf") == "hf" and version in arguments.KNOWN_VERSIONS
    return arguments.schema(version) if known else {"type": "object"}
