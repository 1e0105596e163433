"""Rows of every shape become examples: the messages of a prompt, and one response or a pair to it.

The compiler's check of rows has the same rules; they are LLaMA-Factory's where it has any (data/converter.py), and
TRL's for `chosen` and `rejected` that are whole conversations ("Dataset formats" in its documentation).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import NoReturn

from smtrain_native.runtime.data_errors import DataError
from smtrain_native.runtime.json_rows import Row
from smtrain_native.runtime.messages import ASSISTANT, Message, MessageReader, alternate, opens_response
from smtrain_native.runtime.settings import DataSet, Kind

_ID_CHARACTERS = 32


class Flaw(IntEnum):
    """Why an example may not be trained on; a store keeps the number."""

    NONE = 0
    TURNS = 1
    NO_RESPONSE = 2
    EMPTY_RESPONSE = 3
    IDENTICAL = 4
    EMPTY_PROMPT = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """What one sample is made of.

    Attributes:
      prompt_id: the row's own, or a digest of the prompt.
      place: where the row is.
      prompt: messages up to the last one before the response.
      responses: one for SFT, (chosen, rejected) for pairs; each the messages that follow the prompt.
      tools: what the prompt's tools column holds.
      flaw: why it may not be trained on.
    """

    prompt_id: str
    place: str
    prompt: tuple[Message, ...]
    responses: tuple[tuple[Message, ...], ...]
    tools: tuple[object, ...] = ()
    flaw: Flaw = Flaw.NONE


class RowReader:
    """Reads the rows of one data set."""

    def __init__(self, dataset: DataSet, kind: Kind) -> None:
        """Keeps what the rows are read by.

        Raises:
          DataError: no column is named for a role that this kind of training needs.
        """
        self._columns = dataset.columns
        # A column of prompts, in whatever format, holds text or messages.
        self._is_chat = dataset.format != "alpaca" and not (
            "prompt" in self._columns and "messages" not in self._columns
        )
        self._kind = kind
        self._messages = MessageReader(dataset.tags)
        missing = [role for role in self.needed() if role not in dataset.columns]
        if missing:
            message = f"data set {dataset.name}: no column is named for {', '.join(missing)}. Name it in data.columns."
            raise DataError(message)

    def needed(self) -> tuple[str, ...]:
        """Returns the roles that rows cannot do without."""
        if self._kind == "preference":
            return ("chosen", "rejected")
        return ("messages",) if self._is_chat else ("prompt", "response")

    def columns(self) -> Mapping[str, str]:
        """Returns role → column, of the roles that this kind of training reads."""
        other = {"response"} if self._kind == "preference" else {"chosen", "rejected"}
        own = {"messages"} if self._is_chat else {"prompt", "query", "history"}
        read = ({"response", "chosen", "rejected", "system", "tools", "prompt_id"} | own) - other
        return {role: column for role, column in self._columns.items() if role in read}

    def examples(self, row: Row, place: str) -> Iterator[Example]:
        """Yields what one row holds: one example, or one for each of its listed responses.

        Raises:
          DataError: a column's value is of a type that its role cannot have.
        """
        prompt = self._prompt(row, place)
        tools = self._tools(row, place)
        answers, listed = self._answers(row, place)
        if self._kind == "sft" and self._is_chat and "response" not in self._columns:
            prompt, answers = prompt[:-1], [(prompt[-1:],)]
        own = row.get(self._columns.get("prompt_id", "prompt_id"))
        for number, responses in enumerate(answers or [()]):
            example = Example(prompt_id="", place=place, prompt=prompt, responses=responses, tools=tools)
            if self._kind == "preference" and responses:
                example = _with_common_prompt(example)
            name = _digest(example) if own is None or own == "" else str(own)
            yield replace(example, prompt_id=f"{name}#{number}" if listed else name, flaw=_flaw(example))

    def _prompt(self, row: Row, place: str) -> tuple[Message, ...]:
        system = self._text(row, "system", place)
        if self._is_chat:
            messages = self._messages.conversation(self._value(row, "messages"), self._named("messages", place))
        else:
            messages = (*self._history(row, place), *self._question(row, place))
        if system and not (messages and messages[0]["role"] == "system"):
            return ({"role": "system", "content": system}, *messages)
        return messages

    def _question(self, row: Row, place: str) -> tuple[Message, ...]:
        value = self._value(row, "prompt")
        if isinstance(value, list):
            return self._messages.conversation(value, self._named("prompt", place))
        if "prompt" not in self._columns:
            return ()
        texts = (self._text(row, "prompt", place), self._text(row, "query", place))
        return ({"role": "user", "content": "\n".join(filter(None, texts))},)

    def _history(self, row: Row, place: str) -> Iterator[Message]:
        turns = self._value(row, "history")
        if not isinstance(turns, list | None) or not all(_is_pair(turn) for turn in turns or ()):
            self._wrong("history", place, "not a list of [prompt, response] pairs of text")
        for question, answer in turns or ():
            yield {"role": "user", "content": question}
            yield {"role": ASSISTANT, "content": answer}

    def _answers(self, row: Row, place: str) -> tuple[list[tuple[tuple[Message, ...], ...]], bool]:
        """Returns the responses of each example, and whether the row lists them."""
        roles = ("chosen", "rejected") if self._kind == "preference" else ("response",)
        choices = []
        listed = False
        for role in roles:
            found, is_list = self._messages.choices(self._value(row, role), self._named(role, place))
            choices.append(found)
            listed = listed or is_list
        if len({len(found) for found in choices}) > 1 and all(choices):
            message = (
                f"{place}: {len(choices[0])} chosen and {len(choices[1])} rejected responses. "
                "Lists must have the same length: response k is paired with response k."
            )
            raise DataError(message)
        return list(zip(*choices, strict=False)), listed

    def _tools(self, row: Row, place: str) -> tuple[object, ...]:
        value = self._value(row, "tools") or None
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                self._wrong("tools", place, "not JSON")
        if not isinstance(value, list | None):
            self._wrong("tools", place, "not a list of tools")
        return tuple(value or ())

    def _value(self, row: Row, role: str) -> object:
        return row.get(self._columns[role]) if role in self._columns else None

    def _text(self, row: Row, role: str, place: str) -> str:
        value = self._value(row, role)
        if not isinstance(value, str | None):
            self._wrong(role, place, f"{type(value).__name__}, not text")
        return str(value or "")

    def _named(self, role: str, place: str) -> str:
        return f"{place}: {role} (column `{self._columns.get(role, role)}`)"

    def _wrong(self, role: str, place: str, what: str) -> NoReturn:
        message = f"{self._named(role, place)} is {what}. Mend the row, or the mapping of the columns."
        raise DataError(message)


def _is_pair(turn: object) -> bool:
    return isinstance(turn, list | tuple) and [type(text) for text in turn] == [str, str]


def _with_common_prompt(example: Example) -> Example:
    """Returns a pair whose responses are whole conversations with what these share as the prompt."""
    if all(opens_response(response) for response in example.responses):
        return example
    chosen, rejected = example.responses
    shortest = min(len(chosen), len(rejected)) - 1
    shared = next((at for at in range(shortest) if chosen[at] != rejected[at]), shortest)
    while shared and not (opens_response(chosen[shared:]) and opens_response(rejected[shared:])):
        shared -= 1
    system = tuple(message for message in example.prompt[:1] if message["role"] == "system")
    own_system = bool(chosen) and chosen[0]["role"] == "system"
    prompt = ((), system)[not own_system] + chosen[:shared]
    return replace(example, prompt=prompt, responses=(chosen[shared:], rejected[shared:]))


def _flaw(example: Example) -> Flaw:
    if not example.responses or not all(example.responses):
        return Flaw.NO_RESPONSE
    if not alternate(example.prompt) or not all(opens_response(response) for response in example.responses):
        return Flaw.TURNS
    if any(_is_empty(response) for response in example.responses):
        return Flaw.EMPTY_RESPONSE
    first, *others = example.responses
    return Flaw.IDENTICAL if first in others else Flaw.NONE


def _is_empty(response: Sequence[Message]) -> bool:
    return not any(message.get("content") or message.get("tool_calls") for message in response)


def _digest(example: Example) -> str:
    text = json.dumps((example.prompt, example.tools), sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_CHARACTERS]
