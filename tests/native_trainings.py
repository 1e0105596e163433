"""Trainings of the native trainer on the tiny model, and samples for its parts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from native_sets import pair_set, settings_of, sft_set, write_lines
from smtrain_native.runtime import settings as told

VOCABULARY = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """A sample."""

    prompt_id: str
    prompt: np.ndarray
    responses: tuple[np.ndarray, ...]
    masks: tuple[np.ndarray | None, ...]


def tokens(name: str, prompt: int, *responses: int, seed: int = 0) -> Tokens:
    """A sample of random tokens of these lengths."""
    draw = np.random.default_rng((seed, prompt, *responses))
    return Tokens(
        prompt_id=name,
        prompt=draw.integers(3, VOCABULARY, prompt).astype(np.int32),
        responses=tuple(draw.integers(3, VOCABULARY, length).astype(np.int32) for length in responses),
        masks=(None,) * len(responses),
    )


class ListOf:
    """Samples of a list."""

    def __init__(self, samples: list[Tokens]) -> None:
        self._samples = samples
        self.lengths = np.array([[len(each.prompt), *map(len, each.responses)] for each in samples])

    def __len__(self) -> int:
        return len(self._samples)

    def sample(self, number: int) -> Tokens:
        return self._samples[number]


PAIRS = [
    tokens("a", 5, 7, 3),
    tokens("b", 20, 1, 30),
    tokens("c", 1, 4, 4),
    tokens("d", 9, 12, 2),
    tokens("e", 0, 4, 6),
]
"""Pairs of every sort: a long and a short prompt, one token against many, and no prompt at all."""

WORDS = ("red", "green", "blue", "seven", "tern", "harbour", "stone", "bread", "light", "river", "seal", "cold")


def rows(count: int, *, pairs: bool) -> list[dict[str, object]]:
    """Rows whose lengths differ widely."""
    draw = np.random.default_rng(7)

    def text() -> str:
        return " ".join(draw.choice(WORDS, int(draw.integers(1, 30))))

    answers = ("chosen", "rejected") if pairs else ("response",)
    return [
        {"prompt_id": f"p{number}", "prompt": text() + "\n", **{answer: text() for answer in answers}}
        for number in range(count)
    ]


def training(folder: Path, model: Path, *, kind: str = "preference", **changed: object) -> told.Settings:
    """A short training in a folder of its own, with an evaluation set."""
    pairs = kind == "preference"
    make = pair_set if pairs else sft_set
    sets = [
        make(write_lines(folder / f"{role}.jsonl", rows(count, pairs=pairs)), name=role, role=role)
        for role, count in (("train", 48), ("eval", 10))
    ]
    base = settings_of(model, folder / "cache", *sets, kind=kind)
    return dataclasses.replace(
        base,
        loss=told.Loss(kind="dpo" if pairs else "sft"),
        tuning=told.Tuning(kind="full"),
        batching=told.Batching(max_tokens_per_device=256, batch_size=8),
        optimizer=told.Optimizer(learning_rate=1e-3),
        training=told.Training(precision="fp32", epochs=2),
        parallel=told.Parallel(device="cpu"),
        checkpoints=told.Checkpoints(every=4, keep=2),
        **changed,
    )


def document(folder: Path, settings: told.Settings) -> Path:
    """Writes native.json."""
    path = folder / "native.json"
    path.write_text(told.text(settings), encoding="utf-8")
    return path


def metrics(folder: Path) -> list[Mapping[str, float]]:
    """The rows of metrics.jsonl."""
    return [json.loads(line) for line in (folder / "output" / "metrics.jsonl").read_text().splitlines()]


def losses(folder: Path) -> dict[int, float]:
    """Step → loss."""
    return {int(row["step"]): row["loss"] for row in metrics(folder) if "loss" in row}


def evaluated(folder: Path, metric: str) -> Sequence[float]:
    """What the evaluations told of a metric, in order."""
    return [row[f"eval/eval/{metric}"] for row in metrics(folder) if f"eval/eval/{metric}" in row]
