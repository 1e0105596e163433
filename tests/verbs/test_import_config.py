from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from commands import Smtrain

TRAIN = """\
model_name_or_path: org/model
stage: sft
do_train: true
finetuning_type: lora
dataset: seas
template: llama3
output_dir: saves/x
per_device_train_batch_size: 2
learning_rate: 1.0e-5
"""


@pytest.fixture
def theirs(here: Path) -> Path:
    """A configuration of LLaMA-Factory beside its data folder."""
    (here / "data").mkdir()
    (here / "data" / "dataset_info.json").write_text(json.dumps({"seas": {"file_name": "seas.json"}}))
    rows = [{"instruction": "Name a sea.", "input": "", "output": "The Baltic."}] * 4
    (here / "data" / "seas.json").write_text(json.dumps(rows))
    (here / "theirs.yaml").write_text(TRAIN)
    return here / "theirs.yaml"


def test_the_config_goes_to_stdout(theirs: Path, smtrain: Smtrain) -> None:
    answer = smtrain("import", "llamafactory", theirs.name)
    assert answer.code == 0
    assert answer.out.startswith("# @package _global_\n")
    assert yaml.safe_load(answer.out)["model"]["path"] == "org/model"
    assert sorted(path.name for path in theirs.parent.iterdir()) == ["data", "rows.jsonl", "theirs.yaml"]


def test_the_config_goes_to_a_file_and_compiles_back(theirs: Path, here: Path, smtrain: Smtrain) -> None:
    shown = smtrain("import", "llamafactory", theirs.name).out
    answer = smtrain("import", "llamafactory", theirs.name, "-o", "conf/experiment/mine.yaml")
    assert answer.out == "wrote conf/experiment/mine.yaml\n"
    assert (here / "conf" / "experiment" / "mine.yaml").read_text() == shown
    plan = smtrain("plan", "--config-dir", "conf", "experiment=mine", "--json")
    assert plan.code == 0, plan.err
    compiled = yaml.safe_load((here / plan.document["bundle"] / "program" / "train.yaml").read_text())
    given = yaml.safe_load(TRAIN)
    assert {key: compiled[key] for key in given if key != "dataset_dir"} == given


def test_json_holds_the_config(theirs: Path, smtrain: Smtrain) -> None:
    document = smtrain("import", "llamafactory", theirs.name, "--json").document
    assert document["written"] is None
    assert yaml.safe_load(document["config"])["model"]["path"] == "org/model"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("llamafactory", "nowhere.yaml"), "There is no file `nowhere.yaml`"),
        (("llamafactry", "theirs.yaml"), "Did you mean `llamafactory`?"),
    ],
)
def test_a_mistake_is_told(words: tuple[str, ...], told: str, theirs: Path, smtrain: Smtrain) -> None:
    answer = smtrain("import", *words)
    assert (answer.code, answer.out) == (2, "")
    assert told in answer.err


def test_what_is_not_text_is_told(here: Path, smtrain: Smtrain) -> None:
    (here / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    answer = smtrain("import", "llamafactory", "binary.yaml")
    assert answer.code == 2
    assert "is not UTF-8 text" in answer.err
