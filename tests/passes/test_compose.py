from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.utils import setup_globals
from omegaconf import OmegaConf

from smtrain.errors import Origin
from smtrain.passes.compose import Composed, Request, compose


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of configs, in the current folder as `conf`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "model").mkdir()
    return tmp_path / "conf"


def composed(*overrides: str) -> Composed:
    return compose(Request(overrides=overrides, config_dirs=("conf",)))


def test_a_key_no_file_mentions_can_be_set(configs: Path) -> None:
    tree = composed("env.NEW=1").tree
    assert tree["env"] == {"NEW": 1}


def test_an_override_is_the_origin_of_what_it_sets(configs: Path) -> None:
    found = composed("trainer.args.lora_rank=16")
    assert found.origins.of("trainer.args.lora_rank") == Origin(source="override `trainer.args.lora_rank=16`")


def test_a_built_in_group_file_is_named_with_its_line(configs: Path) -> None:
    origin = composed("strategy=zero2").origins.of("strategy.kind")
    assert origin is not None
    assert origin.source.endswith("conf/strategy/zero2.yaml")
    assert origin.line == 2


def test_a_global_package_places_lines_at_the_root(configs: Path) -> None:
    text = "# @package _global_\ndefaults:\n  - override /strategy: zero3\nname: mine\ncompute:\n  nodes: 1\n"
    (configs / "experiment" / "mine.yaml").write_text(text)
    found = composed("experiment=mine")
    assert found.tree["strategy"]["kind"] == "zero3"  # type: ignore[index,call-overload]
    assert found.origins.of("name") == Origin(source="conf/experiment/mine.yaml", line=4)
    assert found.origins.of("compute.nodes") == Origin(source="conf/experiment/mine.yaml", line=6)


def test_the_file_merged_last_is_the_origin(configs: Path) -> None:
    (configs / "experiment" / "base.yaml").write_text("# @package _global_\nname: base\nseed: 1\n")
    (configs / "experiment" / "top.yaml").write_text(
        "# @package _global_\ndefaults:\n  - base\n  - _self_\nname: top\n"
    )
    origins = composed("experiment=top").origins
    assert origins.of("name") == Origin(source="conf/experiment/top.yaml", line=5)
    assert origins.of("seed") == Origin(source="conf/experiment/base.yaml", line=3)


def test_a_config_directory_goes_before_the_built_in_configs(configs: Path) -> None:
    (configs / "model" / "smollm2_135m.yaml").write_text("path: my/own\n")
    found = composed()
    assert found.tree["model"]["path"] == "my/own"  # type: ignore[index,call-overload]
    assert found.origins.of("model.path") == Origin(source="conf/model/smollm2_135m.yaml", line=1)


def test_an_interpolation_is_resolved_and_remembered(configs: Path) -> None:
    found = composed("vars.root=/fsx", "storage.output=${vars.root}/out")
    assert found.tree["storage"]["output"] == "/fsx/out"  # type: ignore[index,call-overload]
    assert found.unresolved == {"storage.output": "${vars.root}/out"}


def test_every_bad_interpolation_is_reported(configs: Path) -> None:
    found = composed("name=${vars.a}", "storage.output=${vars.b}")
    assert [problem.key for problem in found.problems] == ["name", "storage.output"]


def test_composing_goes_on_past_a_bad_override(configs: Path) -> None:
    found = composed("strategy=nope", "launcher=nope", "seed=7")
    assert sorted(problem.key for problem in found.problems) == ["launcher", "strategy"]
    assert found.tree["seed"] == 7


def test_the_clock_cannot_enter_a_compile(configs: Path) -> None:
    (problem,) = composed("name=${now:%H}").problems
    assert problem.key == "name"
    # As in a sweep, in whose process Hydra runs.
    setup_globals()
    (problem,) = composed("name=${now:%H}").problems
    assert problem.key == "name"
    assert OmegaConf.has_resolver("now")


def test_hydras_own_settings_are_left_to_hydra(configs: Path) -> None:
    found = composed("hydra.sweep.dir=x", "hydra/launcher=basic")
    assert found.problems == ()
    assert "hydra" not in found.tree


def test_a_commands_line_wins_over_a_trainers_choice_of_data(configs: Path) -> None:
    assert composed("trainer=lf_dpo").choices["data"] == "example_preference"
    assert composed("trainer=lf_dpo", "data=preference").choices["data"] == "preference"
