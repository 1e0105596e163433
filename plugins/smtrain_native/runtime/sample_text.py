"""The text of an example, cut where the prompt ends and where the assistant's turns begin and end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import jinja2

from smtrain_native.runtime.data_errors import DataError
from smtrain_native.runtime.messages import ASSISTANT, Message
from smtrain_native.runtime.row_shapes import Example


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Some text, and whether the model is trained to write it."""

    text: str
    trained: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleText:
    """The text of one sample.

    Attributes:
      prompt: what the model is given.
      responses: the pieces of each response, in order.
      unended: whether the prompt lacks the newline that would part it from the response.
    """

    prompt: str
    responses: tuple[tuple[Piece, ...], ...]
    unended: bool = False


def shared_length(one: Sequence[object], other: Sequence[object]) -> int:
    """Returns how long the beginning is that two texts, or two lists, have in common."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


class Layout(Protocol):
    """Lays an example out as text."""

    def text(self, example: Example) -> SampleText:
        """Returns the text; raises DataError where the example cannot be laid out so."""


class Completion:
    """Prompt and response as they are."""

    def text(self, example: Example) -> SampleText:
        """Returns the two texts."""
        for messages in (example.prompt, *example.responses):
            if len(messages) != 1 or messages[0].get("tool_calls") or example.tools:
                message = (
                    f"{example.place}: prompt_type=completion joins one prompt and one response bare; this row has a "
                    "system message, a history, tools or further turns. Set prompt_type=chat."
                )
                raise DataError(message)
        responses = tuple((Piece(text=str(messages[0]["content"])),) for messages in example.responses)
        prompt = str(example.prompt[0]["content"])
        return SampleText(prompt=prompt, responses=responses, unended=not prompt.endswith("\n"))


class Render(Protocol):
    """The tokenizer's chat template."""

    def __call__(self, messages: Sequence[Message], tools: Sequence[object], *, opened: bool) -> str:
        """Returns the text of messages, at whose end the assistant's turn is opened, or not."""


class Chat:
    """The tokenizer's chat template around the messages.

    The prompt is the template of the messages before the response, with the assistant's turn opened; what the template
    of all messages has after it is the response. Where several turns of an SFT sample are the assistant's, the prompt
    ends at the first of them, all of them are trained, and what is between them is not.
    """

    def __init__(self, render: Render, *, every_turn: bool) -> None:
        """Takes the template, and whether the assistant's turns within the prompt are trained as well."""
        self._render, self._every_turn = render, every_turn

    def text(self, example: Example) -> SampleText:
        """Returns the text."""
        try:
            return self._text(example)
        except (jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            message = f"{example.place}: the chat template refuses the messages: {type(error).__name__}: {error}"
            raise DataError(message) from None

    def _text(self, example: Example) -> SampleText:
        def render(messages: Sequence[Message], *, opened: bool = False) -> str:
            return self._render(messages, example.tools, opened=opened)

        first = next((at for at, each in enumerate(example.prompt) if each["role"] == ASSISTANT), len(example.prompt))
        first = first if self._every_turn else len(example.prompt)
        conversations = [(*example.prompt, *response) for response in example.responses]
        opening = render(example.prompt[:first], opened=True)
        wholes = [render(messages) for messages in conversations]
        ends = [_start(render, m, first, whole, opening) for m, whole in zip(conversations, wholes, strict=True)]
        # The two texts of a pair share the prompt; a template that lays it out differently shares less of it.
        end = min(ends)
        if not all(whole.startswith(wholes[0][:end]) for whole in wholes):
            end = shared_length(*wholes)
        responses = tuple(
            tuple(_pieces(render, messages, first, whole, end))
            for messages, whole in zip(conversations, wholes, strict=True)
        )
        return SampleText(prompt=wholes[0][:end], responses=responses)


_Renderer = Callable[..., str]


def _start(render: _Renderer, messages: Sequence[Message], at: int, whole: str, opening: str) -> int:
    """Returns the index in the whole text at which the model begins to write message `at`.

    That is where the opened prompt ends. Some templates write more there than in front of an answer that is already
    given, such as the start of a thought: then it is where the answer begins.
    """
    return len(opening) if whole.startswith(opening) else _content(render, messages, at, whole)[0]


def _end(render: _Renderer, messages: Sequence[Message], at: int, whole: str, start: int) -> int:
    """Returns the index in the whole text at which message `at` ends, the mark of its end included."""
    closed = render(messages[: at + 1])
    if whole.startswith(closed) and len(closed) >= start:
        return len(closed)
    # A template may write the last answer in another way than earlier ones: the mark is what follows either.
    end = max(_content(render, messages, at, whole)[1], start)
    mark = whole[_content(render, messages, len(messages) - 1, whole)[1] :]
    return end + shared_length(whole[end:], mark)


def _content(render: _Renderer, messages: Sequence[Message], at: int, whole: str) -> tuple[int, int]:
    """Returns where the content of message `at` begins and ends: where the text changes when another stands there."""
    content = str(messages[at].get("content") or "").strip()
    other = next(letter for letter in "xyz" if letter not in (content[:1], content[-1:]))
    changed = render([*messages[:at], {**messages[at], "content": other}, *messages[at + 1 :]])
    start = shared_length(whole, changed)
    return start, max(len(whole) - shared_length(whole[::-1], changed[::-1]), start)


def _pieces(
    render: _Renderer, messages: Sequence[Message], first: int, whole: str, end_of_prompt: int
) -> Sequence[Piece]:
    later = [at for at in range(first + 1, len(messages)) if messages[at]["role"] == ASSISTANT]
    pieces: list[Piece] = []
    start, turn = end_of_prompt, first
    for at in later:
        end = _end(render, messages, turn, whole, start)
        opening = render(messages[:at], opened=True)
        next_start = max(_start(render, messages, at, whole, opening), end)
        pieces += [Piece(text=whole[start:end]), Piece(text=whole[end:next_start], trained=False)]
        start, turn = next_start, at
    pieces.append(Piece(text=whole[start:]))
    return [piece for piece in pieces if piece.text]
