"""Rules about which arguments may be there at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from smtrain.plugin import Problem
from smtrain_llamafactory.arguments import SECRETS, properties
from smtrain_llamafactory.facts import Facts, Rule

VARIABLES: Mapping[str, str] = MappingProxyType(
    {
        "hf_hub_token": "HF_TOKEN",
        "hub_token": "HF_TOKEN",
        "push_to_hub_token": "HF_TOKEN",
        "ms_hub_token": "MODELSCOPE_API_TOKEN",
        "swanlab_api_key": "SWANLAB_API_KEY",
    }
)
"""Secret argument → the environment variable that the library behind it reads instead."""


def secrets_are_references(facts: Facts) -> Iterator[Problem]:
    """Everything in the arguments is written to a file of the bundle."""
    for name in sorted(SECRETS):
        if not facts.args.get(name):
            continue
        variable = VARIABLES.get(name)
        fix = (
            f"Remove it, and say where the value is: secrets.{variable}: env:{variable}"
            if variable
            else "Remove it, and log in on the target beforehand."
        )
        yield facts.error(name, "secrets are references; a secret's value must not stand in a configuration.", fix)


def training_arguments_at_inference(facts: Facts) -> Iterator[Problem]:
    """hparams/parser.py: get_infer_args parses four of the five groups and refuses the rest."""
    known = properties(facts.version)
    for name in facts.args:
        if known.get(name, {}).get("x-group") == "TrainingArguments":
            yield facts.error(name, "is an argument of training, which export and inference refuse.", "Leave it out.")


ALWAYS: tuple[Rule, ...] = (secrets_are_references,)
INFERENCE: tuple[Rule, ...] = (training_arguments_at_inference,)
