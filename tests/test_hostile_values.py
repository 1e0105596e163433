"""Hostile strings, through every setting that takes a string, are refused with a reason or arrive intact."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from smtrain import schema
from smtrain.errors import ExitCode, SmtrainError
from smtrain.registry import Registry
from smtrain.testing import HOSTILE, compile_overrides, survives

REGISTRY = Registry()
BASE = {"model": {"path": "ORG/NAME"}}


def string_settings() -> Iterator[str]:
    """Yields the key of every setting of lf_sft on local whose type admits free text."""
    documents = {name: schema.of_type(kind) for name, kind in schema.SECTIONS.items()}
    documents["backend"] = schema.of_plugin(REGISTRY, REGISTRY.backends["local"], {})
    documents["trainer"] = schema.of_plugin(REGISTRY, REGISTRY.trainers["lf_sft"], {"version": "0.9.5"})
    documents[""] = schema.of_type(schema.sections.Settings)
    for section, document in documents.items():
        yield from _strings(document, document.get("$defs", {}), section)  # type: ignore[arg-type]


def _strings(node: Any, definitions: dict[str, Any], prefix: str) -> Iterator[str]:
    for name, child in node.get("properties", {}).items():
        key = f"{prefix}.{name}" if prefix else name
        shape = definitions.get(str(child.get("$ref", "")).rpartition("/")[2], child)
        kinds = [option.get("type") for option in shape.get("anyOf", [shape])]
        flat = [kind for item in kinds for kind in (item if isinstance(item, list) else [item])]
        if "string" in flat and "enum" not in shape and "const" not in shape:
            yield key
        yield from _strings(shape, definitions, key)


SETTINGS = sorted(set(string_settings()))


def config_with(folder: Path, key: str, value: str) -> Path:
    """Writes a config folder whose experiment `hostile` sets one key; `${` is escaped as OmegaConf wants it."""
    tree: dict[str, Any] = json.loads(json.dumps(BASE))
    node = tree
    *parents, last = key.split(".")
    for parent in parents:
        node = node.setdefault(parent, {})
    node[last] = value.replace("${", "\\${")
    path = folder / "experiment" / "hostile.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("# @package _global_\n" + yaml.safe_dump(tree, sort_keys=False))
    return folder


def check(folder: Path, key: str, value: str) -> None:
    try:
        compiled = compile_overrides(
            ["experiment=hostile"], config_dir=config_with(folder, key, value), registry=REGISTRY
        )
    except SmtrainError as error:
        assert error.exit_code is ExitCode.BAD_CONFIG, str(error)
        return
    texts = [file.content.decode() for file in compiled.bundle.files if isinstance(file.content, bytes)]
    for name, text in zip(compiled.bundle.files, texts, strict=False):
        if name.path.endswith(".sh"):
            assert subprocess.run(["bash", "-n"], input=text.encode(), check=False).returncode == 0
    if key.startswith(("trainer.args.", "env.")):
        assert survives(compiled.program, value), f"{key}={value!r} arrived changed"


def test_there_are_many_settings() -> None:
    assert len(SETTINGS) > 60
    assert {"model.path", "data.path", "trainer.args.run_name", "storage.output"} <= set(SETTINGS)


@pytest.mark.parametrize("key", SETTINGS)
def test_known_hostile_strings(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for value in ("".join(HOSTILE), HOSTILE[0], "trailing\\", "-dash", "null", "1e-4"):
        check(tmp_path, key, value)
    assert not (tmp_path / "pwned").exists()


@given(value=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12))
@pytest.mark.parametrize(
    "key", ["env.MESSAGE", "trainer.args.run_name", "trainer.args.default_system", "storage.output"]
)
def test_any_text(key: str, tmp_path: Path, value: str) -> None:
    check(tmp_path, key, value)
