"""What the converters of all formats share: how a row is read, and the two ways in which it can fail."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from typing import NoReturn

from smtrain.columns.mapping import effective_columns, effective_tags
from smtrain.columns.responses import one_text
from smtrain.rows import Row, kind_of
from smtrain.spec import Dataset, Json, RowShape


class DroppedError(Exception):
    """The trainer would drop this row; the reason is the argument."""


class FatalError(Exception):
    """The trainer would stop at this row; the arguments are the role or tag at fault, and the reason."""


def drop(reason: str) -> NoReturn:
    """Says that the trainer would drop the row."""
    raise DroppedError(reason)


def stop(role: str, reason: str) -> NoReturn:
    """Says that the trainer would stop at the row, for what plays this role."""
    raise FatalError(role, reason)


class RowReader(abc.ABC):
    """Reads one row after another as the trainer's converter would."""

    def __init__(self, dataset: Dataset, shape: RowShape, *, rich: bool) -> None:
        """Keeps what the rows are read by.

        Args:
          dataset: says which columns and tags to read.
          shape: what the trainer makes of a row.
          rich: whether it takes responses of any form; see `smtrain.columns.responses`.
        """
        self._columns = effective_columns(dataset)
        self._tags = effective_tags(dataset)
        self._dataset = dataset
        self._shape = shape
        self._takes_rich = rich

    def doubts(self, row: Row) -> Iterator[str]:
        """Yields what is odd about a row that can be used.

        Raises:
          DroppedError: the trainer would drop the row.
          FatalError: the trainer would stop at it.
        """
        self._text(row, "system")
        if self._dataset.format != "openai":
            self._text(row, "tools")
        yield from self._read(row)

    @abc.abstractmethod
    def _read(self, row: Row) -> Iterator[str]: ...

    def _value(self, row: Row, role: str) -> Json:
        return row.get(self._columns[role]) if role in self._columns else None

    def _text(self, row: Row, role: str) -> str:
        value = self._value(row, role)
        if not isinstance(value, str | None):
            stop(role, f"{role} `{self._columns[role]}` is {kind_of(value)}, not a string.")
        return value or ""

    def _rich(self, row: Row, role: str) -> str:
        """Returns the text of a response of any form."""
        of_messages = self._tags if self._dataset.format != "alpaca" else self._dataset.tags
        try:
            return one_text(self._value(row, role), of_messages.get("content_tag", "content"))
        except ValueError as error:
            stop(role, f"{role} `{self._columns[role]}` is {error}.")

    @staticmethod
    def _pair(chosen: str, rejected: str) -> Iterator[str]:
        if chosen == rejected:
            yield "chosen and rejected are equal."
        elif not chosen or not rejected:
            yield "an empty response."

    @staticmethod
    def _feedback(response: str) -> Iterator[str]:
        if not response:
            yield "an empty response, which the trainer takes for an undesirable one whatever its mark says."

    def _tag(self, row: Row) -> None:
        tag = self._value(row, "kto_tag")
        column = self._columns["kto_tag"]
        if tag is None:
            drop(f"no mark (`{column}` is absent or null).")
        if not isinstance(tag, bool):
            stop(
                "kto_tag", f"kto_tag `{column}` is {kind_of(tag)}, not true or false; the row would count as unmarked."
            )
