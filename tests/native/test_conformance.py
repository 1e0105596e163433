"""The native trainers pass the kit that every plugin must pass, with other settings than their own, too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from native_jobs import DPO, PAIRS, RESPONSES, SFT, text_of, write_rows

from smtrain.testing import HOSTILE, check_trainer, compile_overrides, survives

TWO = ("compute=cpu", "compute.processes_per_node=2")

VARIANTS = {
    "merged and reported": (
        "native_sft", "strategy=ddp", *TWO, "trainer.export.enabled=true", "trainer.reports.to=[tensorboard,mlflow]",
    ),
    "whole and sharded": ("native_dpo", "strategy=zero3", *TWO, "trainer.tuning.kind=full", "launcher=accelerate"),
    "without a reference": ("native_dpo", "strategy=zero2", *TWO, "trainer.loss.kind=simpo", "launcher=deepspeed"),
    "with the user's reference": ("native_dpo", "trainer.reference=target:/fsx/reference.arrow"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_a_trainer_conforms_with_other_settings(name: str) -> None:
    trainer, *overrides = VARIANTS[name]
    check_trainer(trainer, overrides=overrides)


TEXTS = (
    "trainer.reports.project",
    "trainer.reports.name",
    "model.revision",
)
"""Settings that take any text."""


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    write_rows(folder / "responses.jsonl", RESPONSES)
    write_rows(folder / "pairs.jsonl", PAIRS)
    return folder


def configured(folder: Path, run: tuple[str, ...], key: str, value: str) -> tuple[str, ...]:
    """Returns the overrides of an experiment that sets the key: no shell, and no syntax of Hydra's, in between."""
    section, _, name = key.partition(".")
    value = value.replace("${", "\\${")  # else OmegaConf's own syntax for another value
    said = {name: value} if "." not in name else {name.split(".")[0]: {name.split(".")[1]: value}}
    path = folder / "experiment" / "hostile.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"# @package _global_\n{json.dumps({section: said})}\n", encoding="utf-8")
    return (*run, "experiment=hostile")


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("key", TEXTS)
def test_any_text_reaches_the_run_time_as_it_is(
    key: str, value: str, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(rows)
    found = compile_overrides(configured(tmp_path, SFT, key, value), config_dir=tmp_path)
    assert survives(found.program, value)
    assert all(file.content for file in found.bundle.files)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_of_any_name_is_found_where_the_document_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = f"{name}.jsonl".replace("/", "-")
    write_rows(tmp_path / path, PAIRS)
    found = compile_overrides(configured(tmp_path, DPO[:-1], "data.path", path), config_dir=tmp_path)
    (item,) = found.program.inputs
    (told,) = json.loads(text_of(found.program, "native.json"))["data"]["sets"]
    assert told["files"] == [item.path]
    assert item.path.endswith(".jsonl")
    assert "\n" not in item.path
