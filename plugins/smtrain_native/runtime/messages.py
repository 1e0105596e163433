"""Messages as rows write them, and as chat templates read them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NoReturn

from smtrain_native.runtime.data_errors import DataError

Message = dict[str, object]
"""`role` and `content`, and what else a template may read, such as `tool_calls`."""

ASSISTANT = "assistant"
_PASSED_ON = ("tool_calls", "tool_call_id", "name", "reasoning_content", "thinking")
_OPENAI = MappingProxyType(
    {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
        "observation_tag": "tool",
        "system_tag": "system",
    }
)
_ROLES = MappingProxyType(
    {
        "user_tag": "user",
        "assistant_tag": ASSISTANT,
        "observation_tag": "tool",
        "function_tag": ASSISTANT,
        "system_tag": "system",
    }
)


class MessageReader:
    """Reads messages whose parts are named by tags."""

    def __init__(self, tags: Mapping[str, str]) -> None:
        """Takes tag → its name in the messages; without any, the names are OpenAI's."""
        tags = tags or _OPENAI
        self._role, self._content = tags.get("role_tag", "role"), tags.get("content_tag", "content")
        self._roles = {tags[tag]: role for tag, role in _ROLES.items() if tag in tags}
        self._function = tags.get("function_tag")

    def conversation(self, value: object, named: str) -> tuple[Message, ...]:
        """Returns a list of messages; none for null.

        Args:
          value: what the column holds.
          named: the place and the column, for messages.

        Raises:
          DataError: it is something else.
        """
        if not isinstance(value, list | None):
            _fail(named, f"{type(value).__name__}, not a list of messages")
        return tuple(self.message(each, f"{named}, message {number}") for number, each in enumerate(value or (), 1))

    def message(self, value: object, named: str) -> Message:
        """Returns one message with the standard names."""
        if not isinstance(value, dict):
            _fail(named, f"{type(value).__name__}, not an object")
        for key in (self._role, self._content):
            if key not in value:
                _fail(named, f"an object without `{key}`; it has {', '.join(map(repr, value)) or 'nothing'}")
        role, content = value[self._role], value[self._content]
        more = {key: value[key] for key in _PASSED_ON if value.get(key) is not None}
        if content is None and more.get("tool_calls"):
            content = ""
        if not isinstance(content, str):
            _fail(named, f"a message whose `{self._content}` is {type(content).__name__}, not text")
        if role == self._function and (calls := tuple(_calls(content))):
            return {"role": ASSISTANT, "content": "", "tool_calls": list(calls)}
        return {"role": self._roles.get(str(role), str(role)), "content": content, **more}

    def choices(self, value: object, named: str) -> tuple[list[tuple[Message, ...]], bool]:
        """Returns each response that a column holds, as messages, and whether the column is a list of responses.

        A response is a text, a message, or a list of messages. An empty text is a response; null is none.
        """
        if value is None:
            return [], False
        if isinstance(value, list) and value and not isinstance(value[0], dict):
            return [self._response(each, f"{named}, item {number}") for number, each in enumerate(value, 1)], True
        return ([self._response(value, named)], False) if value != [] else ([], True)

    def _response(self, value: object, named: str) -> tuple[Message, ...]:
        if isinstance(value, str):
            return ({"role": ASSISTANT, "content": value},)
        if isinstance(value, dict):
            return (self.message(value, named),)
        if not isinstance(value, list):
            _fail(named, f"{type(value).__name__}, neither text nor messages")
        return self.conversation(value, named)


def alternate(prompt: Sequence[Message]) -> bool:
    """Whether the user and the assistant take turns, the user first and last, after a system message if any.

    Answers of several tools at once are one turn, as in LLaMA-Factory.
    """
    roles = [message["role"] for message in prompt]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    turns = [role for role, before in zip(turns, ["", *turns], strict=False) if not role == before == "tool"]
    sides = (("user", "tool"), (ASSISTANT,))
    return len(turns) % 2 == 1 and all(role in sides[number % 2] for number, role in enumerate(turns))


def opens_response(messages: Sequence[Message]) -> bool:
    """Whether these messages begin, and end, with one of the assistant's."""
    return bool(messages) and messages[0]["role"] == messages[-1]["role"] == ASSISTANT


def _calls(text: str) -> Iterator[Message]:
    """Yields the calls that a function message spells as JSON; none where it is other text."""
    try:
        parsed = json.loads(text)
    except ValueError:
        return
    for call in parsed if isinstance(parsed, list) else [parsed]:
        if isinstance(call, dict) and "name" in call:
            yield {"type": "function", "function": {"name": call["name"], "arguments": call.get("arguments", {})}}


def _fail(named: str, what: str) -> NoReturn:
    message = f"{named} is {what}. Mend the row, or the mapping of the columns."
    raise DataError(message)
