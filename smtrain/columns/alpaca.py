"""Reads rows of prompt and response, as LLaMA-Factory's AlpacaDatasetConverter does."""

from __future__ import annotations

from collections.abc import Iterator

from smtrain.columns.row_reader import RowReader, drop, stop
from smtrain.rows import Row
from smtrain.spec import RowShape


class AlpacaReader(RowReader):
    """Rows of an instruction, with input and history, and a response or two."""

    def _read(self, row: Row) -> Iterator[str]:
        self._history(row)
        asked = self._rich(row, "prompt") if self._has_messages(row) else self._text(row, "prompt")
        if not any([asked, self._text(row, "query")]) and ("prompt" in self._columns or not self._takes_rich):
            yield "an empty prompt."
        if self._shape is RowShape.PREFERENCE and self._dataset.ranking:
            yield from self._pair(self._answer(row, "chosen"), self._answer(row, "rejected"))
        elif self._shape is RowShape.FEEDBACK:
            self._tag(row)
            yield from self._feedback(self._text(row, "response"))
        elif self._shape is RowShape.PROMPT_RESPONSE and not self._answer(row, "response"):
            yield "an empty response."

    def _answer(self, row: Row, role: str) -> str:
        value = self._value(row, role)
        if value is None:
            drop(f"no {role} (`{self._columns[role]}` is absent or null).")
        return self._rich(row, role) if self._takes_rich else self._text(row, role)

    def _has_messages(self, row: Row) -> bool:
        return self._takes_rich and isinstance(self._value(row, "prompt"), list)

    def _history(self, row: Row) -> None:
        turns = self._value(row, "history")
        pairs = turns if isinstance(turns, list) else []
        whole = all(isinstance(pair, list) and [type(text) for text in pair] == [str, str] for pair in pairs)
        if not isinstance(turns, list | None) or not whole:
            stop("history", f"history `{self._columns['history']}` is not a list of [prompt, response] pairs of text.")
