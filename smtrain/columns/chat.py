"""Reads rows of messages, as LLaMA-Factory's SharegptDatasetConverter and OpenAIDatasetConverter do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from smtrain.columns.row_reader import RowReader, drop, stop
from smtrain.rows import Row, kind_of
from smtrain.spec import Json, RowShape


class ChatReader(RowReader):
    """Rows of messages that take turns."""

    def _read(self, row: Row) -> Iterator[str]:
        ranking = self._dataset.ranking
        if self._takes_rich and ranking and "messages" not in self._columns:
            yield from self._pair(self._choice(row, "chosen"), self._choice(row, "rejected"))
            return
        roles, texts = self._turns(row)
        sides = (
            {self._tags.get("user_tag"), self._tags.get("observation_tag")},
            {self._tags.get("assistant_tag"), self._tags.get("function_tag")},
        )
        for index, role in enumerate(roles):
            if role not in sides[index % 2]:
                self._drop(f"message {index + 1} is from `{role}`; turns must alternate, the user's first.")
        if not roles or len(roles) % 2 != ranking:
            wants = "an odd number, up to the prompt" if ranking else "an even number, up to the response"
            self._drop(f"{len(roles)} messages besides the system's; there must be {wants}.")
        if self._shape is RowShape.PREFERENCE and ranking:
            yield from self._pair(self._choice(row, "chosen"), self._choice(row, "rejected"))
        elif self._shape is RowShape.FEEDBACK:
            self._tag(row)
            yield from self._feedback(texts[-1])
        elif self._shape is RowShape.PROMPT_RESPONSE and not texts[-1]:
            yield "an empty response."

    def _drop(self, reason: str) -> None:
        # Pre-training takes the first message of every row, broken or not, and stops where there is none.
        if self._shape is RowShape.TEXT:
            stop("messages", reason)
        drop(reason)

    def _turns(self, row: Row) -> tuple[list[str], list[str]]:
        """Returns the roles and the texts of the messages, but the leading system message."""
        messages = self._value(row, "messages")
        if not isinstance(messages, list):
            what = f"`{self._columns['messages']}` is {kind_of(messages)}, not a list of messages."
            stop("messages", what)
        said = [self._message(message, f"message {number}") for number, message in enumerate(messages, 1)]
        if said and self._tags.get("system_tag") and said[0][0] == self._tags["system_tag"]:
            said = said[1:]
        if self._dataset.format == "openai":
            said = self._join_observations(said)
        return [role for role, _ in said], [text for _, text in said]

    def _message(self, message: Json, name: str) -> tuple[str, str]:
        if not isinstance(message, dict):
            stop("messages", f"{name} is {kind_of(message)}, not an object.")
        for tag in ("role_tag", "content_tag"):
            if self._tags.get(tag) not in message:
                stop(tag, f"{name} has no `{self._tags.get(tag, tag)}`.")
        role, text = message[self._tags["role_tag"]], message[self._tags["content_tag"]]
        if self._dataset.format == "openai" and message.get("tool_calls"):
            role, text = self._tags.get("function_tag", "tool_calls"), "tool_calls"
        if not isinstance(text, str):
            stop("messages", f"the content of {name} is {kind_of(text)}, not a string.")
        if self._dataset.format == "openai" and role not in self._tags.values():
            stop("role_tag", f"{name} is from `{role}`, which no tag names.")
        return str(role), text

    def _join_observations(self, said: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Returns the turns with runs of tool answers made one; a run at the end is lost, as the converter loses it."""
        observation = self._tags.get("observation_tag")
        after = [*(role for role, _ in said[1:]), ""]
        runs = [turn for turn, then in zip(said, after, strict=True) if not turn[0] == then == observation]
        return runs[:-1] if runs and runs[-1][0] == observation else runs

    def _choice(self, row: Row, role: str) -> str:
        value = self._value(row, role)
        if self._takes_rich and not isinstance(value, dict | None):
            return self._rich(row, role)
        if not isinstance(value, dict):
            drop(f"{role} `{self._columns[role]}` is {kind_of(value)}, not a message.")
        speaker, text = self._message(value, role)
        if speaker not in {self._tags.get("assistant_tag"), self._tags.get("function_tag")}:
            stop(role, f"{role} is from `{speaker}`, not from the assistant.")
        return text
