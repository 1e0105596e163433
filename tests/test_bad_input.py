"""Every mistake ends with exit 2, one clear message, and no file left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smtrain.cli import main

PLAN = ("plan", "model.path=ORG/NAME")

CASES = {
    "unknown group choice": (
        ("strategy=zerro2",),
        ["override `strategy=zerro2`", "There is no `zerro2` to choose", "Did you mean `zero2`?"],
    ),
    "group added though it is there": (
        ("+backend=local",),
        ["override `+backend=local`", "Write backend=local, without"],
    ),
    "group added whose choice brings another": (
        ("+trainer=lf_dpo",),
        ["override `+trainer=lf_dpo`", "Write trainer=lf_dpo"],
    ),
    "misspelt root key": (("trainr.name=x",), ["override `trainr.name=x`: trainr: Unknown key", "`trainer`"]),
    "misspelt section key": (("model.pth=x",), ["model.pth: Unknown key", "Did you mean `path`?"]),
    "misspelt backend key": (("backend.grase_s=1",), ["backend.grase_s: Unknown key", "Did you mean `grace_s`?"]),
    "misspelt trainer key": (("trainer.versoin=1",), ["trainer.versoin: Unknown key", "Did you mean `version`?"]),
    "misspelt argument": (
        ("trainer.args.learing_rate=1",),
        ["trainer.args.learing_rate", "LLaMA-Factory 0.9.5", "Did you mean `learning_rate`?"],
    ),
    "misspelt nested key": (
        ("data.columns.promt=x",),
        ["data.columns.promt: Unknown key", "Did you mean `prompt`?"],
    ),
    "renamed argument": (("trainer.args.evaluation_strategy=steps",), ["evaluation_strategy", "eval_strategy"]),
    "wrong type": (("seed=abc",), ["override `seed=abc`: seed", "wanted is a whole number"]),
    "wrong type of an argument": (("trainer.args.learning_rate=fast",), ["trainer.args.learning_rate", "number"]),
    "number out of range": (("compute.nodes=0",), ["compute.nodes", "the least is 1"]),
    "impossible batch": (
        ("global_batch_size=30", "micro_batch_size=4", "gradient_accumulation_steps=2"),
        ["30", "4", "2", "= 8"],
    ),
    "missing required value": (("model=custom", "~model.path"), ["model.path", "required"]),
    "undefined interpolation": (("name=${vars.nothing}",), ["`vars.nothing`, which is not defined"]),
    "absent data file": (("data.path=nowhere.jsonl",), ["data.path", "There is no file `nowhere.jsonl`"]),
    "absent model folder": (("model.path=./nowhere",), ["model.path", "There is no model folder `./nowhere`"]),
    "two strategies": (("strategy=zero2", "strategy=zero3"), ["strategy", "Chosen twice: `zero2` and `zero3`"]),
    "a sweep without -m": (("seed=1,2",), ["seed", "smtrain -m seed=1,2"]),
    "absent config directory": (("--config-dir", "nowhere"), ["The config directory `nowhere` does not exist"]),
    "not an override": (("lonely",), ["override `lonely`"]),
    "unknown config": (("--config-name", "nope"), ["There is no config called `nope`"]),
    "deleting what is not there": (("~nope",), ["override `~nope`"]),
    "value that the config leaves to its user": (("data=alpaca",), ["alpaca.yaml:3: data.path: A value is required"]),
    "the same of the model": (("model=custom", "model.path=???"), ["model.path: A value is required"]),
    "value that needs quotes": (
        ("data.path=~/my rows.jsonl",),
        ["data.path: Hydra's syntax", """'data.path="~/my rows.jsonl"'"""],
    ),
    "list where a mapping belongs": (("env=[]",), ["override `env=[]`", "Error merging override env=[]: "]),
    "number where text belongs": (("model.revision=1",), ["model.revision: `1` is a number", r"model.revision=\'1\'"]),
    "name for a list of names": (
        ("data=dataset_info", "data.dataset_info=x.json", "data.names=rows"),
        ["data.names: `rows` is text; wanted is a list", "Write a list: [rows]"],
    ),
    "variable and secret of one name": (("env.A=x", "secrets.A=env:Z"), ["secrets.A: `A` is set under `env` as well"]),
    "absent search path": (
        ("hydra.searchpath=[file:///nowhere/at/all]",),
        ["hydra.searchpath: `/nowhere/at/all` does not exist"],
    ),
    "URL of rows": (("data.path=file:///rows.jsonl",), ["Give the path without file://"]),
    "hub data set without its mark": (("data.path=ORG/NAME",), ["hub:ORG/NAME"]),
    "no name of a hub data set": (("data.path=hub:",), ["no name of a data set of the Hugging Face hub"]),
    "name too long for a file": ((f"data.path={'x' * 300}",), ["data.path", "cannot be read: File name too long"]),
    "folder of a dataset_info.json": (
        ("data=dataset_info", "data.dataset_info=.", "data.names=[a]"),
        ["data.dataset_info: `.` is a folder", "dataset_info.json"],
    ),
    "unknown template": (("model.template=llama33",), ["model.template", "Did you mean `llama3`?"]),
    "document in a file": (("trainer.args.accelerator_config=a.json",), ["accelerator_config", "as a mapping"]),
    "absent strategy document": (("strategy=zero2", "strategy.document=no.json"), ["strategy.document", "no.json"]),
}


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_told_and_leaves_nothing(case: str, empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, expected = CASES[case]
    assert main([*PLAN, *words]) == 2
    captured = capsys.readouterr()
    for part in expected:
        assert part in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert list(empty.iterdir()) == []


def test_malformed_yaml_is_told_with_its_line(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = empty / "conf" / "experiment" / "bad.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("# @package _global_\nname: ok\nenv: {A: [1,\n")
    assert main([*PLAN, "--config-dir", "conf", "experiment=bad"]) == 2
    assert "conf/experiment/bad.yaml:4" in capsys.readouterr().err


def test_mistakes_of_every_pass_are_reported_together(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["launcher=torchrum", "trainr=x", "seed=abc", "trainer.args.learing_rate=1", "data.path=nowhere.jsonl"]
    assert main([*PLAN, *words]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert [line.split("`")[1] for line in lines] == sorted(words)


def test_a_section_that_is_no_mapping_is_told(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = empty / "conf" / "experiment" / "flat.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("# @package _global_\nstrategy: zero2\n")
    assert main([*PLAN, "--config-dir", "conf", "experiment=flat"]) == 2
    message = capsys.readouterr().err
    assert "conf/experiment/flat.yaml:2: strategy: `zero2` is no mapping" in message


def test_a_config_file_is_named_with_its_line(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = empty / "conf" / "experiment" / "my.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("# @package _global_\ntrainer:\n  args:\n    learing_rate: 1.0e-4\n")
    assert main([*PLAN, "--config-dir", "conf", "experiment=my"]) == 2
    assert "conf/experiment/my.yaml:4: trainer.args.learing_rate" in capsys.readouterr().err


def test_unmapped_columns_get_the_right_hint(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = empty / "rows.jsonl"
    rows.write_text('{"question": "Why?", "answer": "Because."}\n')
    words = ["data=alpaca", "data.path=rows.jsonl", "data.columns={prompt: query, response: answer}"]
    assert main([*PLAN, *words]) == 2
    message = capsys.readouterr().err
    assert "data.columns.prompt" in message
    assert "no column `query`" in message
    assert "`question`, `answer`" in message
    assert "data.columns.prompt=question" in message


def test_json_tells_the_same_as_prose(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*PLAN, "seed=abc", "--json"]) == 2
    captured = capsys.readouterr()
    error = json.loads(captured.out)["error"]
    assert error["exit_code"] == 2
    assert [problem["key"] for problem in error["problems"] if problem["severity"] == "error"] == ["seed"]
    assert "seed" in captured.err


def write(folder: Path, name: str, text: str) -> None:
    path = folder / "conf" / "experiment" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# @package _global_\n{text}", encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1: 2\n", "conf/experiment/my.yaml:2: 1: Unknown key"),
        ("env: {1: a}\n", "conf/experiment/my.yaml:2: env: `1` does not match"),
        ("data: {sets: {1: {path: no.jsonl}}}\n", "data.sets"),
        ("defaults: [my]\n", "A defaults list includes itself"),
        ("defaults: [{nope: x}]\n", "There is no group `experiment/nope`"),
    ],
)
def test_an_odd_config_file_is_told(text: str, expected: str, empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(empty, "my", text)
    assert main([*PLAN, "--config-dir", "conf", "experiment=my"]) == 2
    assert expected in capsys.readouterr().err


def test_an_experiment_that_is_added_is_told_to_be_chosen(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(empty, "my", "seed: 1\n")
    assert main([*PLAN, "--config-dir", "conf", "+experiment=my"]) == 2
    told = capsys.readouterr().err
    assert "override `+experiment=my`: experiment: The defaults have this group already" in told
    assert "Write experiment=my, without `+`." in told


@pytest.mark.parametrize("section", ["strategy", "trainer"])
def test_a_section_that_is_no_mapping_is_told_once(
    section: str, empty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(empty, "flat", f"{section}: null\n")
    assert main([*PLAN, "--config-dir", "conf", "experiment=flat"]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(errors) == 1
    assert f"{section}: `null` is no mapping" in errors[0]


def test_a_missing_choice_is_blamed_on_the_file_that_makes_it(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = empty / "conf" / "model"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("defaults: [nope]\n")
    assert main(["plan", "--config-dir", "conf", "model=mine"]) == 2
    assert "defaults list of `model/mine`: model: There is no `nope`" in capsys.readouterr().err


def test_config_path_is_searched_as_config_dir_is(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(empty, "my", "name: found\n")
    assert main(["explain", "name", "--config-path", "conf", "experiment=my"]) == 0
    assert "conf/experiment/my.yaml:2" in capsys.readouterr().out


def test_a_link_to_nothing_is_told(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (empty / "rows.jsonl").symlink_to("nothing")
    assert main([*PLAN, "data=alpaca", "data.path=rows.jsonl"]) == 2
    assert "`rows.jsonl` is a link to `nothing`, which does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("setting", ["split=test", "subset=x", "folder=x"])
def test_a_setting_of_hub_data_sets_is_refused_for_files(
    setting: str, empty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (empty / "rows.jsonl").write_text('{"instruction": "Why?", "output": "Because."}\n')
    assert main([*PLAN, "data=alpaca", "data.path=rows.jsonl", f"data.{setting}"]) == 2
    assert f"data.{setting.partition('=')[0]}: " in capsys.readouterr().err


def test_a_part_of_the_one_split_of_files_is_taken(empty: Path) -> None:
    (empty / "rows.jsonl").write_text('{"instruction": "Why?", "output": "Because."}\n')
    assert main([*PLAN, "data=alpaca", "data.path=rows.jsonl", "data.split='train[:50%]'"]) == 0


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ("[]", "is no JSON object"),
        ('{"a": 3}', "has an entry `a` that is no JSON object"),
        ('{"a": {"file_name": "rows.jsonl", "columns": ["x"]}}', "`columns` of the entry `a`"),
    ],
)
def test_an_odd_dataset_info_is_told(info: str, expected: str, empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (empty / "rows.jsonl").write_text('{"instruction": "Why?", "output": "Because."}\n')
    (empty / "info.json").write_text(info)
    assert main([*PLAN, "data=dataset_info", "data.dataset_info=info.json", "data.names=[a]"]) == 2
    assert expected in capsys.readouterr().err
