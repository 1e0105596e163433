"""Responses of any form: a text, a message, a list of messages, or a list of these."""

from __future__ import annotations

from collections.abc import Iterator

from smtrain.rows import kind_of
from smtrain.spec import Json


def one_text(value: Json, content: str) -> str:
    """Returns the text of a response, or of all responses of a list, to be compared; "" when one of them has none.

    Args:
      value: what the column holds.
      content: the field of a message that holds its text.

    Raises:
      ValueError: it is of no such form; the text says what it is.
    """
    texts = list(_texts(value, content))
    return "\0".join(texts) if all(texts) else ""


def _texts(value: Json, content: str) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield _of_message(value, content)
    elif isinstance(value, list):
        conversation = "\n".join(_of_message(item, content) for item in value if isinstance(item, dict))
        if conversation:
            yield conversation
        for item in value:
            if not isinstance(item, dict):
                yield from _texts(item, content)
    else:
        message = f"{kind_of(value)}, neither text nor messages"
        raise ValueError(message)  # noqa: TRY004  # one kind of error for all forms


def _of_message(message: dict[str, Json], content: str) -> str:
    if message.get("tool_calls"):
        return "tool_calls"
    if content not in message:
        reason = f"a message without `{content}`"
        raise ValueError(reason)
    text = message[content]
    if not isinstance(text, str):
        reason = f"a message whose `{content}` is {kind_of(text)}, not a string"
        raise ValueError(reason)  # noqa: TRY004  # likewise
    return text
