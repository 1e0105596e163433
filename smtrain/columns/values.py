"""Reads every row as the trainer would, and counts those that it would drop, stop at, or take with a doubt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from smtrain.columns.alpaca import AlpacaReader
from smtrain.columns.chat import ChatReader
from smtrain.columns.hints import retagged
from smtrain.columns.mapping import DEFAULT_TAGS, effective_columns, is_chat
from smtrain.columns.row_reader import DroppedError, FatalError
from smtrain.columns.settings import key_of
from smtrain.errors import Problem, warning
from smtrain.rows import Sample
from smtrain.spec import Dataset, RowShape


@dataclass(slots=True)
class _Tally:
    """How many rows have some flaw, and where the first is."""

    place: str
    count: int = 0


def value_problems(dataset: Dataset, sample: Sample, shape: RowShape, *, rich: bool) -> Iterator[Problem]:
    """Yields the flaws of the rows' values, each once, with the number of rows that have it."""
    reader = (ChatReader if is_chat(dataset) else AlpacaReader)(dataset, shape, rich=rich)
    dropped: dict[str, _Tally] = {}
    fatal: dict[tuple[str, str], _Tally] = {}
    doubts: dict[str, _Tally] = {}
    for row, place in zip(sample.rows, sample.places, strict=True):
        try:
            for doubt in reader.doubts(row):
                doubts.setdefault(doubt, _Tally(place)).count += 1
        except DroppedError as error:
            dropped.setdefault(str(error), _Tally(place)).count += 1
        except FatalError as error:
            fatal.setdefault(error.args, _Tally(place)).count += 1
    for (role, reason), tally in fatal.items():
        yield Problem(
            key=_key(dataset, role), what=f"{_at(tally, sample)}: {reason}", fix=retagged(dataset, sample, role)
        )
    yield from _dropped(dataset, sample, dropped)
    for doubt, tally in doubts.items():
        yield warning(dataset.key, f"{_at(tally, sample)}: {doubt}")
    if shape is RowShape.FEEDBACK and sample.complete and not fatal and not dropped:
        yield from _one_sided(dataset, sample)


def _key(dataset: Dataset, role: str) -> str:
    if role in dataset.columns:
        return key_of(dataset, f"columns.{role}")
    return key_of(dataset, f"tags.{role}") if role in DEFAULT_TAGS else dataset.key


def _at(tally: _Tally, sample: Sample) -> str:
    if tally.count == 1:
        return tally.place
    return f"{tally.place} and {tally.count - 1} more of the {len(sample.rows)} rows looked at"


def _dropped(dataset: Dataset, sample: Sample, dropped: Mapping[str, _Tally]) -> Iterator[Problem]:
    every = sum(tally.count for tally in dropped.values()) == len(sample.rows)
    for reason, tally in dropped.items():
        what = f"{_at(tally, sample)}: {reason} The trainer drops such rows."
        if every:
            yield Problem(key=dataset.key, what=f"no row can be used. {what}", fix="Mend the rows, or the mapping.")
        else:
            yield warning(dataset.key, what)


def _one_sided(dataset: Dataset, sample: Sample) -> Iterator[Problem]:
    tags = {row.get(effective_columns(dataset)["kto_tag"]) for row in sample.rows}
    if len(tags) == 1:
        yield warning(dataset.key, f"every row is marked {str(tags.pop()).lower()}; feedback needs both sorts.")
