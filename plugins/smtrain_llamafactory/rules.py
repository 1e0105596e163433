"""Rules across arguments: what LLaMA-Factory, transformers and peft refuse late, or quietly ignore, said before launch.

Each rule's docstring names the place in LLaMA-Factory 0.9.5 (paths below src/llamafactory) or in the library that
enforces it. What needs the target machine, such as installed packages, is no rule here.
"""

from __future__ import annotations

from collections.abc import Iterator

from smtrain.plugin import Problem
from smtrain_llamafactory import rules_data, rules_model, rules_secrets, rules_stage, rules_trainer, rules_tuning
from smtrain_llamafactory.facts import Facts, Rule

__all__ = ["ALWAYS", "INFERENCE", "TRAINING", "Facts", "check", "ppo_refusal"]

ALWAYS: tuple[Rule, ...] = (
    *rules_secrets.ALWAYS,
    *rules_data.ALWAYS,
    *rules_model.ALWAYS,
    *rules_tuning.ALWAYS,
)
TRAINING: tuple[Rule, ...] = (
    *rules_stage.TRAINING,
    *rules_data.TRAINING,
    *rules_model.TRAINING,
    *rules_tuning.TRAINING,
    *rules_trainer.TRAINING,
)
INFERENCE: tuple[Rule, ...] = (*rules_secrets.INFERENCE, *rules_model.INFERENCE)


def check(facts: Facts) -> Iterator[Problem]:
    """Yields every problem between arguments; errors for what fails, warnings for what surprises."""
    for rule in (*ALWAYS, *(TRAINING if facts.training else INFERENCE)):
        yield from rule(facts)


def ppo_refusal(version: str) -> Problem:
    """Returns why this version of LLaMA-Factory cannot run PPO, whatever is installed beside it.

    train/ppo/trainer.py calls require_version("trl>=0.8.6,<=0.9.6") where no switch turns it off; extras/misc.py wants
    trl>=0.18.0,<=0.24.0 at start; and train/tuner.py imports train/kto/trainer.py and train/dpo/trainer.py together
    with PPO's, which take prepare_deepspeed and prepare_fsdp from trl.models.utils: trl 0.9.6 has neither.
    """
    return Problem(
        key="trainer",
        what=f"LLaMA-Factory {version} cannot run PPO: its PPO trainer wants trl>=0.8.6,<=0.9.6, the rest of it "
        "trl>=0.18.0,<=0.24.0, and under trl 0.9.6 it does not even start "
        "(`cannot import name 'prepare_deepspeed' from 'trl.models.utils'`).",
        fix="Use lf_dpo or lf_kto; the last release that runs PPO is LLaMA-Factory 0.9.3, with trl 0.9.6.",
    )
