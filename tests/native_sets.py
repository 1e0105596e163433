"""Data sets for the native trainer's run time, and settings that read them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from smtrain_native.runtime.prepare import Prepared, prepare
from smtrain_native.runtime.settings import Data, DataSet, Model, Settings
from smtrain_native.runtime.tokenize_progress import Progress

SHAREGPT_TAGS = {
    "role_tag": "from",
    "content_tag": "value",
    "user_tag": "human",
    "assistant_tag": "gpt",
    "observation_tag": "observation",
    "function_tag": "function_call",
    "system_tag": "system",
}
OPENAI_TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "observation_tag": "tool",
    "system_tag": "system",
}
SFT_COLUMNS = {"prompt": "prompt", "response": "response"}
PAIR_COLUMNS = {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}


def write_lines(path: Path, rows: Iterable[Mapping[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def sft_rows(count: int) -> list[dict[str, object]]:
    return [
        {"prompt": f"Count to {number}.\n", "response": "one two three " * (number % 5 + 1)} for number in range(count)
    ]


def sft_set(path: Path, **changed: object) -> DataSet:
    told = {"name": "rows", "role": "train", "files": (str(path),), "columns": SFT_COLUMNS, **changed}
    return DataSet(**told)


def pair_set(path: Path, **changed: object) -> DataSet:
    return sft_set(path, **{"columns": PAIR_COLUMNS, **changed})


def settings_of(
    model: Path, cache: Path, *sets: DataSet, kind: str = "sft", seed: int = 42, **data: object
) -> Settings:
    told = {"prompt_type": "completion", "workers": 1, "cache_dir": str(cache), **data}
    return Settings(kind=kind, model=Model(path=str(model)), data=Data(sets=sets, **told), seed=seed)


def changed(settings: Settings, **data: object) -> Settings:
    """Returns the settings with other data settings."""
    return dataclasses.replace(settings, data=dataclasses.replace(settings.data, **data))


def prepared(settings: Settings, number: int = 0) -> Prepared:
    return prepare(settings, settings.data.sets[number], Path(), Progress(None))


def report_of(settings: Settings) -> dict[str, object]:
    return json.loads(json.dumps(dataclasses.asdict(prepared(settings).report())))


def counts(report: Mapping[str, object], part: str = "dropped") -> dict[str, int]:
    """Returns reason → samples."""
    return {reason: each["samples"] for reason, each in report[part].items()}
