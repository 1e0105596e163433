from __future__ import annotations

from pathlib import Path

import pytest
from commands import Smtrain


@pytest.fixture
def configs(here: Path) -> Path:
    folder = here / "conf" / "experiment"
    folder.mkdir(parents=True)
    text = "# @package _global_\nvars:\n  rate: 3.0e-5\ntrainer:\n  args:\n    learning_rate: ${vars.rate}\n"
    (folder / "mine.yaml").write_text(text)
    return here / "conf"


def test_an_override_is_the_origin(smtrain: Smtrain) -> None:
    answer = smtrain("explain", "global_batch_size", "global_batch_size=8")
    assert answer.code == 0
    assert "value      8\n" in answer.out
    assert "set by     override `global_batch_size=8`\n" in answer.out
    assert "type       a whole number, ≥ 1 or null\n" in answer.out
    assert "default    null" in answer.out
    assert "meaning    Samples per optimizer step, over all processes.\n" in answer.out


def test_json_holds_the_same(smtrain: Smtrain) -> None:
    document = smtrain("explain", "seed", "seed=7", "--json").document
    assert document == {
        "key": "seed",
        "value": 7,
        "is_set": True,
        "written": None,
        "origin": "override `seed=7`",
        "type": document["type"],
        "default": 42,
        "doc": "Seed of everything random.",
    }
    assert "a whole number" in document["type"]


def test_a_file_is_the_origin_with_its_line_and_the_interpolation_as_written(configs: Path, smtrain: Smtrain) -> None:
    words = ("--config-dir", "conf", "experiment=mine", "--json")
    document = smtrain("explain", "trainer.args.learning_rate", *words).document
    assert document["value"] == 3.0e-5
    assert document["written"] == "${vars.rate}"
    assert document["origin"] == "conf/experiment/mine.yaml:6"


def test_a_group_choice_explains_the_keys_that_came_with_it(smtrain: Smtrain) -> None:
    document = smtrain("explain", "strategy.kind", "strategy=zero3", "--json").document
    assert document["value"] == "zero3"
    assert document["origin"].endswith("conf/strategy/zero3.yaml:2")
    assert "zero2_offload" in document["type"]


def test_an_argument_that_is_not_set_has_a_type_and_a_meaning(smtrain: Smtrain) -> None:
    answer = smtrain("explain", "trainer.args.lora_alpha")
    assert answer.code == 0
    assert "value      not set" in answer.out
    assert "set by     nobody" in answer.out
    assert "type       null or a number\n" in answer.out
    assert "scale factor for LoRA" in answer.out


def test_a_misspelt_argument_gets_a_suggestion(smtrain: Smtrain) -> None:
    answer = smtrain("explain", "trainer.args.learing_rate")
    assert answer.code == 2
    assert "There is no key `trainer.args.learing_rate`" in answer.err
    assert "Did you mean `trainer.args.learning_rate`?" in answer.err


@pytest.mark.parametrize(
    ("key", "meant"), [("sed", "seed"), ("model.pth", "model.path"), ("backend.grase_s", "backend.grace_s")]
)
def test_an_unknown_key_gets_a_suggestion(key: str, meant: str, smtrain: Smtrain) -> None:
    answer = smtrain("explain", key)
    assert answer.code == 2
    assert f"`{meant}`" in answer.err


def test_a_key_of_another_backend_says_whose_it_is(smtrain: Smtrain) -> None:
    answer = smtrain("explain", "backend.checkpoints.uri")
    assert answer.code == 2
    assert "smtrain explain backend.checkpoints.uri backend=trainingjob" in answer.err
    assert smtrain("explain", "backend.checkpoints.uri", "backend=trainingjob").code == 0


def test_a_whole_section_is_shown(smtrain: Smtrain) -> None:
    document = smtrain("explain", "launcher", "launcher=accelerate", "--json").document
    assert document["value"]["kind"] == "accelerate"


def test_a_key_as_completion_leaves_it_is_understood(smtrain: Smtrain) -> None:
    assert smtrain("explain", "model.path=", "model.path=ORG/NAME", "--json").document["value"] == "ORG/NAME"


def test_no_key_is_an_error(smtrain: Smtrain) -> None:
    answer = smtrain("explain")
    assert answer.code == 2
    assert "Which key?" in answer.err


def test_a_config_that_does_not_compose_is_an_error(smtrain: Smtrain) -> None:
    answer = smtrain("explain", "seed", "strategy=nope")
    assert answer.code == 2
    assert "There is no `nope` to choose" in answer.err
