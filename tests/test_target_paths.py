"""`target:/path` through the core: models, data sets and the launch script."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import interpreter, smtrain
from test_launch_script import in_place, launch

from smtrain.datasets import find
from smtrain.errors import ExitCode
from smtrain.launch_script import MISSING_INPUT
from smtrain.models import resolve, resolve_adapters
from smtrain.sections import Data, DataSource, Model
from smtrain.spec import ModelSource

NOT_ABSOLUTE = ["target:", "target:models/x", "target:~/x", "target:./x", "target://opt/ml/x"]


def test_a_model_on_the_target_is_not_looked_at() -> None:
    found, problems = resolve(Model(path="target:/nowhere here/model"))
    assert (found.source, found.reference, found.fingerprint) == (
        ModelSource.TARGET, "target:/nowhere here/model", "",
    )  # fmt: skip
    assert problems == ()


def test_adapters_on_the_target_stand_beside_others() -> None:
    found, problems = resolve_adapters(Model(path="ORG/NAME", adapter="target:/a, ORG/LORA"))
    assert [adapter.source for adapter in found] == [ModelSource.TARGET, ModelSource.HUB]
    assert problems == ()


@pytest.mark.parametrize("reference", NOT_ABSOLUTE)
def test_a_path_on_the_target_is_absolute(reference: str) -> None:
    (problem,) = resolve(Model(path=reference))[1]
    assert (problem.key, problem.is_error) == ("model.path", True)
    assert "names no absolute path on the target" in problem.what
    (problem,) = resolve_adapters(Model(path="ORG/NAME", adapter=reference))[1]
    assert problem.key == "model.adapter"
    assert [each.key for each in find(Data(path=reference, eval_path=reference)).problems] == [
        "data.path", "data.eval_path",
    ]  # fmt: skip
    assert find(Data(sets={"a": DataSource(path=reference)})).problems[0].key == "data.sets.a.path"


def test_two_slashes_are_told_apart_from_a_url() -> None:
    (problem,) = resolve(Model(path="target://opt/ml/x"))[1]
    assert problem.fix == "Write it like target:/opt/ml/x."


def test_rows_on_the_target_have_no_files_here() -> None:
    data = Data(path="target:/rows/a.jsonl", eval_path="target:/rows/dev")
    assert [(each.role, each.source, each.location, each.files) for each in find(data).datasets] == [
        ("train", "target", "target:/rows/a.jsonl", ()),
        ("eval", "target", "target:/rows/dev", ()),
    ]


def test_an_absolute_path_that_is_not_here_may_be_meant_to_be_on_the_target() -> None:
    (problem,) = resolve(Model(path="/no-such-mount/model"))[1]
    assert "target:/no-such-mount/model" in problem.fix
    (problem,) = find(Data(path="/no-such-mount/rows.jsonl")).problems
    assert "target:/no-such-mount/rows.jsonl" in problem.fix


@pytest.mark.parametrize("name", ["model", "it's $(x) \\model"])
def test_the_launch_script_uses_what_lies_there(tmp_path: Path, name: str) -> None:
    from launching import program, python_step

    (tmp_path / name).mkdir()
    (tmp_path / name / "config.json").touch()
    what = program(
        python_step("import os; assert os.listdir('model') == ['config.json']"),
        inputs=(in_place(f"target:{tmp_path / name}"),),
    )
    done = launch(tmp_path / "run", what)
    assert done.returncode == 0, done.stderr


def test_what_is_not_there_is_told_before_any_step(tmp_path: Path) -> None:
    from launching import dumping, program

    done = launch(tmp_path / "run", program(dumping(), inputs=(in_place("target:/no/such"),)))
    assert done.returncode == MISSING_INPUT
    assert done.stderr == "smtrain: input model: there is nothing at /no/such\n"


def test_the_local_backend_takes_model_and_rows_from_where_they_are(tmp_path: Path) -> None:
    rows, model = tmp_path / "mount" / "rows.jsonl", tmp_path / "mount" / "model"
    model.mkdir(parents=True)
    (model / "config.json").touch()
    rows.write_text('{"instruction": "a", "output": "b"}\n')
    looks = f"cmp data/train.jsonl {rows} && ls inputs/model/config.json && cat data/dataset_info.json"
    words = ("run", f"model.path=target:{model}", "data=alpaca", f"data.path=target:{rows}", "compute=cpu")
    words = (*words, "model.template=chatml", interpreter(tmp_path, looks))
    answer = smtrain(*words, "--json", cwd=tmp_path)
    assert answer.code == 0, answer.err
    (bundle,) = tmp_path.glob("runs/*/bundle")
    assert not (bundle / "inputs").exists()
    rows.unlink()
    answer = smtrain(*words, "attempt=2", "--json", cwd=tmp_path)
    assert (answer.code, answer.document["exit_code"]) == (ExitCode.MISSING_HERE, MISSING_INPUT)


@pytest.mark.parametrize(
    ("reference", "is_one"),
    [
        ("env:NAME", True),
        ("secretsmanager:prod/wandb", True),
        ("secretsmanager:prod/wandb#api_key", True),
        ("secretsmanager:arn:aws:secretsmanager:eu-west-1:123456789012:secret:wandb-AbCdEf#key", True),
        ("ssm:/team/hf-token", True),
        ("ssm:team/hf-token", False),
        ("secretsmanager:", False),
        ("secretsmanager:a#", False),
        ("secretsmanager:a b", False),
        ("vault:x", False),
        ("env:1", False),
        ("ssm:/a\n", False),
    ],
)
def test_a_secret_is_referred_to_in_one_of_three_ways(reference: str, is_one: bool) -> None:
    import msgspec

    from smtrain.sections import Settings

    def read() -> Settings:
        return msgspec.convert({"secrets": {"TOKEN": reference}}, Settings)

    if is_one:
        assert read().secrets == {"TOKEN": reference}
    else:
        with pytest.raises(msgspec.ValidationError):
            read()
