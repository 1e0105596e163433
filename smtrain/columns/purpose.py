"""Whether a data set is made for the sort of training that the trainer does."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

from smtrain.columns.mapping import effective_columns, readable
from smtrain.columns.settings import key_of, set_to, spoken
from smtrain.errors import Problem, warning
from smtrain.spec import Dataset, RowShape

_PAIR = MappingProxyType({"ranking": "true", "columns.chosen": "chosen", "columns.rejected": "rejected"})


def wrong_purpose(dataset: Dataset, shape: RowShape) -> Iterator[Problem]:
    """Yields where the data set is made for another sort of training."""
    preference = shape is RowShape.PREFERENCE
    if preference and not dataset.ranking:
        yield Problem(
            key=key_of(dataset, "ranking"),
            what="preference training needs rows with a chosen and a rejected response; ranking is false.",
            fix=f"{set_to(dataset, _PAIR)}, or as the rows call these columns.",
        )
    if dataset.ranking and not preference:
        yield Problem(
            key=key_of(dataset, "ranking"),
            what=f"ranking is true, but the trainer reads {shape.value} rows, not pairs.",
            fix=f"{set_to(dataset, {'ranking': 'false'})}, or choose a trainer of preferences.",
        )
    tagged = effective_columns(dataset).get("kto_tag")
    if tagged and (preference or shape is RowShape.PROMPT_RESPONSE):
        yield Problem(
            key=key_of(dataset, "columns.kto_tag"),
            what=f"`{tagged}` marks rows of feedback; a trainer of {shape.value} rows would drop or misread them.",
            fix=f"Remove {spoken(dataset, 'columns.kto_tag')}, or choose a trainer of feedback.",
        )
    for role in sorted(set(effective_columns(dataset)) - set(readable(dataset))):
        yield warning(
            key_of(dataset, f"columns.{role}"),
            f"{dataset.format} rows have no {role}; it is not read.",
            f"Remove {spoken(dataset, f'columns.{role}')}.",
        )
