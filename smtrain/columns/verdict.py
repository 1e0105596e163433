"""The verdict on a data set: its purpose, then its columns, then what is in them."""

from __future__ import annotations

from collections.abc import Iterator

from smtrain.columns.look_alike import other_kind
from smtrain.columns.mapping import drop_absent_optional
from smtrain.columns.missing import missing_columns
from smtrain.columns.purpose import wrong_purpose
from smtrain.columns.values import value_problems
from smtrain.errors import Problem
from smtrain.rows import Sample
from smtrain.spec import Dataset, RowShape


def check(dataset: Dataset, sample: Sample, shape: RowShape, *, rich: bool = False) -> Iterator[Problem]:
    """Yields why the rows looked at cannot be trained on as this data set, or only in part.

    Args:
      dataset: its `key` starts the keys of the problems: "data" gives "data.columns.prompt". Of an entry of the user's
        own dataset_info.json it is the whole key, and the fixes speak of the entry.
      sample: its rows; the sample's own problems are not repeated.
      shape: what the trainer asks of a row.
      rich: whether it takes responses of any form; see `smtrain.columns.responses`.
    """
    dataset = drop_absent_optional(dataset, sample)
    purpose = list(wrong_purpose(dataset, shape))
    missing = list(missing_columns(dataset, sample, shape, rich=rich)) if sample.rows else []
    unfit = bool(missing) or any(problem.is_error for problem in purpose)
    if unfit and (other := list(other_kind(dataset, sample, shape))):
        yield from other
        return
    yield from (*purpose, *missing)
    if sample.rows and not missing:
        yield from value_problems(dataset, sample, shape, rich=rich)
