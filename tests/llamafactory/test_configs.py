from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from smtrain_llamafactory.plugin import TRAININGS, smtrain_trainers

from smtrain.testing import compile_overrides

CONF = Path(__file__).parents[2] / "conf"
TUNINGS = sorted(path.stem for path in (CONF / "tuning").glob("*.yaml"))
# As released, 0.9.5 cannot run PPO; its config leaves the reward model to the user.
PPO = (
    "trainer.args.reward_model=org/reward",
    "trainer.ppo_capable_environment=true",
    "trainer.args.reward_model_type=full",
)
MODEL = ("model.path=org/model", "model.template=llama3")


def train_yaml(*overrides: str) -> dict[str, object]:
    program = compile_overrides([*MODEL, *overrides]).program
    return yaml.safe_load(next(file.text for file in program.files if file.path == "train.yaml"))


@pytest.mark.parametrize("tuning", TUNINGS)
@pytest.mark.parametrize("trainer", TRAININGS)
def test_every_trainer_compiles_with_every_tuning_on_its_example_rows(trainer, tuning):
    more = PPO if trainer == "lf_ppo" else ()
    args = train_yaml(f"trainer={trainer}", f"tuning={tuning}", *more)
    shipped = yaml.safe_load((CONF / "tuning" / f"{tuning}.yaml").read_text())
    assert shipped.items() <= args.items()
    assert args["stage"] == trainer.removeprefix("lf_")


def test_arguments_of_the_command_line_win_over_those_of_the_tuning():
    assert train_yaml("tuning=full", "trainer.args.learning_rate=3e-6")["learning_rate"] == 3e-6


def test_data_of_the_command_line_win_over_the_examples_of_a_trainer(tmp_path):
    rows = tmp_path / "mine.jsonl"
    rows.write_text('{"instruction": "a", "input": "", "chosen": "b", "rejected": "c"}\n' * 20)
    program = compile_overrides([*MODEL, "trainer=lf_dpo", "data=preference", f"data.path={rows}"]).program
    assert [item.uri for item in program.inputs] == [str(rows)]


def test_preferences_are_learnt_more_slowly_than_instructions():
    assert train_yaml("trainer=lf_dpo")["learning_rate"] < train_yaml("trainer=lf_sft")["learning_rate"]


def test_every_trainer_on_offer_has_a_config():
    assert {spec.name for spec in smtrain_trainers()} <= {path.stem for path in (CONF / "trainer").glob("*.yaml")}


def test_templates_of_the_shipped_models_are_llamafactorys(llamafactory_sdist):
    source = (llamafactory_sdist / "src" / "llamafactory" / "data" / "template.py").read_text()
    known = set(re.findall(r'^    name="([^"]+)",$', source, re.M))
    models = {path.stem: yaml.safe_load(path.read_text()) for path in (CONF / "model").glob("*.yaml")}
    assert len(models) > 5
    assert not {name: model["template"] for name, model in models.items() if model["template"] not in known | {None}}


def test_templates_of_the_shipped_models_are_those_that_llamafactory_gives_them(llamafactory_sdist):
    source = (llamafactory_sdist / "src" / "llamafactory" / "extras" / "constants.py").read_text()
    groups = re.findall(r"register_model_group\((.*?)^\)", source, re.M | re.S)
    for path in (CONF / "model").glob("*.yaml"):
        model = yaml.safe_load(path.read_text())
        if model["template"]:
            group = next(group for group in groups if f'"{model["path"]}"' in group)
            assert f'template="{model["template"]}"' in group, path.name


def test_all_data_configs_say_what_they_want_or_compile():
    for path in (CONF / "data").glob("example*.yaml"):
        data = yaml.safe_load(path.read_text())
        assert (CONF.parent / "smtrain" / "example_data" / data["path"].rpartition("/")[2]).is_file()
