"""Runs of the native trainers, compiled in a folder with rows of both kinds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from smtrain_native.runtime import settings
from smtrain_native.runtime.settings import Settings

from smtrain.errors import Problem, SmtrainError
from smtrain.pipeline import Compiled
from smtrain.spec import Program
from smtrain.testing import compile_overrides

RESPONSES = ({"prompt_id": "a", "prompt": "Name a sea.\n", "response": "The Baltic."},) * 64
PAIRS = ({"prompt_id": "a", "prompt": "Name a sea.\n", "chosen": "The Baltic.", "rejected": "No."},) * 64

HUB = ("model=custom", "model.path=ORG/NAME")
SFT = ("trainer=native_sft", *HUB, "data=prompt_response", "data.path=responses.jsonl")
DPO = ("trainer=native_dpo", *HUB, "data=prompt_preference", "data.path=pairs.jsonl")


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Writes JSON lines."""
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def compiled(*overrides: str) -> Compiled:
    """Returns a compiled run."""
    return compile_overrides(overrides)


def program(*overrides: str) -> Program:
    """Returns the program of a run."""
    return compiled(*overrides).program


def told(*overrides: str) -> Settings:
    """Returns what the run time is told, read as it reads it."""
    return settings.parse(Settings, json.loads(text_of(program(*overrides), "native.json")))


def text_of(found: Program, path: str) -> str:
    """Returns the text of a program's file."""
    return next(file.text for file in found.files if file.path == path)


def problems(*overrides: str) -> tuple[Problem, ...]:
    """Returns all that is said of a run, whether it compiles or not."""
    try:
        return compiled(*overrides).warnings
    except SmtrainError as error:
        return error.problems


def errors(*overrides: str) -> dict[str, str]:
    """Returns key → text of the errors."""
    return {each.key: f"{each.what} {each.fix}" for each in problems(*overrides) if each.is_error}


def warnings(*overrides: str) -> dict[str, str]:
    """Returns key → text of the doubts."""
    return {each.key: f"{each.what} {each.fix}" for each in problems(*overrides) if not each.is_error}
