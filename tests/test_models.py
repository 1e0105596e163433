from __future__ import annotations

import json
from pathlib import Path

import pytest

from smtrain.models import resolve, resolve_adapters
from smtrain.sections import Model
from smtrain.spec import ModelSource


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def folder(path: Path, config: str = "config.json", *, weights: bool = True) -> Path:
    path.mkdir(parents=True)
    (path / config).write_text(json.dumps({"hidden_size": 8}))
    if weights:
        (path / "model.safetensors").write_bytes(b"x")
    return path


@pytest.mark.parametrize(
    ("reference", "source"),
    [("ORG/NAME", ModelSource.HUB), ("gpt2", ModelSource.HUB), ("s3://bucket/model", ModelSource.S3)],
)
def test_references_elsewhere_are_taken_as_they_are(reference: str, source: ModelSource) -> None:
    found, problems = resolve(Model(path=reference))
    assert (found.source, found.reference, problems) == (source, reference, ())


def test_a_folder_is_looked_at(here: Path) -> None:
    folder(here / "models" / "tiny")
    found, problems = resolve(Model(path="models/tiny"))
    assert (found.source, found.config, problems) == (ModelSource.FOLDER, {"hidden_size": 8}, ())


def test_a_fingerprint_tells_weights_of_another_size(here: Path) -> None:
    path = folder(here / "tiny")
    before = resolve(Model(path="tiny"))[0].fingerprint
    (path / "model.safetensors").write_bytes(b"xy")
    assert resolve(Model(path="tiny"))[0].fingerprint != before


def test_a_misspelt_folder_is_no_hub_repository(here: Path) -> None:
    folder(here / "models" / "tiny")
    (problem,) = resolve(Model(path="models/tinny"))[1]
    assert (problem.key, problem.is_error) == ("model.path", True)
    assert "`models` has: tiny" in problem.fix


@pytest.mark.parametrize(
    ("config", "weights", "told"), [("other.json", True, "holds no config.json"), ("config.json", False, "no weights")]
)
def test_half_a_model_is_refused(here: Path, config: str, weights: bool, told: str) -> None:
    folder(here / "half", config, weights=weights)
    (problem,) = resolve(Model(path="./half"))[1]
    assert told in problem.what


def test_several_adapters_are_looked_at_one_by_one(here: Path) -> None:
    folder(here / "lora", "adapter_config.json")
    found, problems = resolve_adapters(Model(path="ORG/NAME", adapter="./lora, ORG/LORA"))
    assert [adapter.source for adapter in found] == [ModelSource.FOLDER, ModelSource.HUB]
    assert problems == ()


def test_an_adapter_that_is_not_there_yet_is_a_doubt_only() -> None:
    (found,), (problem,) = resolve_adapters(Model(path="ORG/NAME", adapter="saves/qwen/lora/sft"))
    assert found.source is ModelSource.FOLDER
    assert (problem.key, problem.is_error) == ("model.adapter", False)
