"""When LLaMA-Factory saves, and on how many tokens it trains in between."""

from __future__ import annotations

from dataclasses import replace

import pytest
from llamafactory_jobs import DATASETS, job
from smtrain_llamafactory.facts import Facts
from smtrain_llamafactory.saves import saves
from smtrain_llamafactory.stages import STAGES

from smtrain.plugin import Json, Saves


def of(args: dict[str, Json], stage: str = "sft", *, steps: int | None = 1000, packs: bool = False) -> Saves | None:
    made = replace(job(DATASETS[stage], micro=4), steps=steps)
    facts = Facts(
        stage=stage,
        args={"do_train": True, **args},
        world_size=made.topology.world_size,
        zero_stage=None,
        fsdp=False,
        accelerator="gpu",
        datasets=made.datasets,
    )
    return saves(made, facts, STAGES[stage], packs=packs)


@pytest.mark.parametrize(
    ("args", "every", "key"),
    [
        ({}, 500, "save_steps"),  # transformers' defaults
        ({"save_steps": 20}, 20, "save_steps"),
        ({"save_steps": 0.0301}, 31, "save_steps"),  # of 1000, rounded up
        ({"save_steps": 0}, None, "save_steps"),
        ({"save_strategy": "no", "save_steps": 20}, None, "save_strategy"),
        ({"save_strategy": "epoch"}, 333, "save_strategy"),  # three epochs
        ({"save_strategy": "epoch", "num_train_epochs": 2.5}, 400, "save_strategy"),
        ({"save_strategy": "epoch", "num_train_epochs": 0.5}, 1000, "save_strategy"),
    ],
)
def test_the_interval_is_that_of_transformers(args: dict[str, Json], every: int | None, key: str) -> None:
    found = of(args)
    assert found is not None
    assert (found.every_steps, found.key) == (every, f"trainer.args.{key}")


@pytest.mark.parametrize(
    ("args", "steps"),
    [
        ({"save_strategy": "best"}, 1000),
        ({"save_strategy": "epoch"}, None),
        ({"save_strategy": "epoch", "max_steps": 1000}, 1000),  # an epoch is of another length
        ({"save_steps": 0.1}, None),
        ({"do_train": False}, 1000),
    ],
)
def test_an_interval_that_nobody_knows_is_none(args: dict[str, Json], steps: int | None) -> None:
    assert of(args, steps=steps) is None


def test_ppo_saves_in_its_own_way() -> None:
    assert of({}, "ppo") is None


@pytest.mark.parametrize(("stage", "sequences"), [("sft", 1), ("kto", 1), ("dpo", 2), ("rm", 2)])
def test_a_step_has_at_most_the_tokens_of_its_samples_at_their_longest(stage: str, sequences: int) -> None:
    found = of({"cutoff_len": 1024}, stage)
    assert found is not None
    assert found.tokens_per_step == 4 * sequences * 1024
    assert found.length_key == "trainer.args.cutoff_len"


@pytest.mark.parametrize(
    ("stage", "packs", "length_key"),
    [
        ("pt", True, ""),
        ("sft", True, ""),
        ("sft", False, "trainer.args.cutoff_len"),
        ("dpo", True, "trainer.args.cutoff_len"),
    ],
)
def test_only_samples_that_are_joined_are_of_one_length(stage: str, packs: bool, length_key: str) -> None:
    found = of({}, stage, packs=packs)
    assert found is not None
    assert found.length_key == length_key


def test_rows_that_were_tokenised_before_are_of_any_length() -> None:
    found = of({"tokenized_path": "tokens"})
    assert found is not None
    assert found.tokens_per_step is None


def test_a_checkpoint_on_request_is_one_of_transformers_arguments() -> None:
    assert [of({"enable_jit_checkpoint": on}).on_request for on in (True, False)] == [True, False]
