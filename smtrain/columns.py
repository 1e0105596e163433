"""Whether the rows of a data set, under its format, columns and tags, give the trainer what it will read.

The semantics are those of LLaMA-Factory 0.9.5 (data/parser.py, data/converter.py, data/processor/), which our native
trainer shares. It finds a missing column only after the model is loaded, and drops most broken rows with a log line;
tests/test_columns.py compares the verdicts with its real converters.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NoReturn

from smtrain.errors import Problem, warning
from smtrain.rows import Row, Sample, kind_of
from smtrain.spec import Dataset, Json, RowShape

# Defaults of LLaMA-Factory's DatasetAttr; `text` is our name for pre-training rows.
_ALPACA = MappingProxyType({"prompt": "instruction", "query": "input", "response": "output"})
_CHAT = MappingProxyType({"messages": "conversations"})
_DEFAULT_COLUMNS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {"alpaca": _ALPACA, "sharegpt": _CHAT, "openai": _CHAT, "text": MappingProxyType({"prompt": "text"})}
)
_DEFAULT_TAGS = MappingProxyType(
    {
        "role_tag": "from",
        "content_tag": "value",
        "user_tag": "human",
        "assistant_tag": "gpt",
        "observation_tag": "observation",
        "function_tag": "function_call",
        "system_tag": "system",
    }
)
_OPENAI_TAGS = MappingProxyType(
    {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
        "observation_tag": "tool",
        "system_tag": "system",
    }
)

_SYNONYMS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "prompt": ("instruction", "prompt", "question", "query", "problem", "text", "content", "user"),
        "query": ("input", "query", "context"),
        "response": ("output", "response", "answer", "completion", "solution", "target", "assistant", "reply"),
        "history": ("history", "past"),
        "messages": ("conversations", "messages", "conversation", "dialog", "dialogue", "chat", "turns"),
        "system": ("system", "system_prompt", "system_message", "sys"),
        "tools": ("tools", "functions"),
        "images": ("images", "image"),
        "videos": ("videos", "video"),
        "audios": ("audios", "audio"),
        "chosen": ("chosen", "accepted", "preferred", "winner", "response_chosen", "chosen_response"),
        "rejected": ("rejected", "dispreferred", "loser", "response_rejected", "rejected_response"),
        "kto_tag": ("kto_tag", "label", "desirable", "thumbs_up", "liked", "feedback"),
    }
)
_EVERY_FORMAT = ("system", "tools", "images", "videos", "audios", "chosen", "rejected", "kto_tag")


def effective_columns(dataset: Dataset) -> Mapping[str, str]:
    """Returns role → column. Giving any column drops all of the format's defaults, as in LLaMA-Factory."""
    return dataset.columns or _DEFAULT_COLUMNS[dataset.format]


def effective_tags(dataset: Dataset) -> Mapping[str, str]:
    """Returns tag → its name in chat messages. Giving any tag drops all defaults, as in LLaMA-Factory."""
    return dataset.tags or _DEFAULT_TAGS


def drop_absent_optional(dataset: Dataset, sample: Sample) -> Dataset:
    """Returns the data set without the default `input` column, where the user named no columns and the rows lack it.

    LLaMA-Factory itself would raise KeyError.
    """
    defaults = dataset.format == "alpaca" and not dataset.columns
    lacking = [role for role, column in _ALPACA.items() if column not in sample.columns]
    if not (defaults and lacking == ["query"]):
        return dataset
    return replace(dataset, columns={role: column for role, column in _ALPACA.items() if role != "query"})


def check(dataset: Dataset, sample: Sample, shape: RowShape) -> Iterator[Problem]:
    """Yields why the rows looked at cannot be trained on as this data set, or only in part.

    Args:
      dataset: its `key` starts the keys of the problems: "data" gives "data.columns.prompt".
      sample: its rows; the sample's own problems are not repeated.
      shape: what the trainer asks of a row.
    """
    dataset = drop_absent_optional(dataset, sample)
    yield from _wrong_kind(dataset, sample, shape)
    if not sample.rows:
        return
    missing = list(_missing_columns(dataset, sample, shape))
    yield from missing
    if not missing:
        yield from _values(dataset, sample, shape)


# ------------------------------------------------------------------------------------------------------------ mappings


def _wrong_kind(dataset: Dataset, sample: Sample, shape: RowShape) -> Iterator[Problem]:
    """Yields where the data set is made for another sort of training."""
    preference, key = shape is RowShape.PREFERENCE, dataset.key
    if preference and not dataset.ranking:
        yield Problem(
            key=f"{key}.ranking",
            what="preference training needs rows with a chosen and a rejected response; ranking is false.",
            fix=f"Set {key}.ranking=true and name the columns, as in {_setting(dataset, 'chosen', 'chosen')} "
            f"{_setting(dataset, 'rejected', 'rejected')}.",
        )
    if dataset.ranking and not preference:
        yield Problem(
            key=f"{key}.ranking",
            what=f"ranking is true, but the trainer reads {shape.value} rows, not pairs.",
            fix=f"Set {key}.ranking=false, or choose a trainer of preferences.",
        )
    tagged = effective_columns(dataset).get("kto_tag")
    if tagged and (preference or shape is RowShape.PROMPT_RESPONSE):
        yield Problem(
            key=f"{key}.columns.kto_tag",
            what=f"`{tagged}` marks rows of feedback; a trainer of {shape.value} rows would drop or misread them.",
            fix=f"Remove {key}.columns.kto_tag, or choose a trainer of feedback.",
        )
    foreign = set(effective_columns(dataset)) - set(_readable(dataset))
    for role in sorted(foreign):
        yield warning(f"{key}.columns.{role}", f"{dataset.format} rows have no {role}; it is not read.")


def _is_chat(dataset: Dataset) -> bool:
    return dataset.format in {"sharegpt", "openai"}


def _readable(dataset: Dataset) -> tuple[str, ...]:
    own = ("messages",) if _is_chat(dataset) else ("prompt", "query", "response", "history")
    return (*own, *_EVERY_FORMAT)


def _needed(dataset: Dataset, shape: RowShape) -> tuple[str, ...]:
    """Returns the roles that must be mapped."""
    chat = _is_chat(dataset)
    pair = ("chosen", "rejected") if shape is RowShape.PREFERENCE and dataset.ranking else ()
    tag = ("kto_tag",) if shape is RowShape.FEEDBACK else ()
    response = ("response",) if shape in {RowShape.PROMPT_RESPONSE, RowShape.FEEDBACK} and not chat else ()
    return ("messages" if chat else "prompt", *response, *pair, *tag)


def _missing_columns(dataset: Dataset, sample: Sample, shape: RowShape) -> Iterator[Problem]:
    columns = effective_columns(dataset)
    read = {role: column for role, column in columns.items() if role in _readable(dataset)}
    absent = {role: column for role, column in read.items() if column not in sample.columns}
    unmapped = [role for role in _needed(dataset, shape) if role not in columns]
    if not dataset.columns and (absent or unmapped):
        yield _defaults_do_not_fit(dataset, sample, absent, unmapped)
        return
    for role, column in absent.items():
        found = _counterpart(role, column, dataset, sample)
        was = f"Set {_setting(dataset, role, found)} (was {column})." if found else ""
        what = f"no column `{column}`; {_have(sample)}"
        yield Problem(key=f"{dataset.key}.columns.{role}", what=what, fix=_fix(was, dataset, sample, column))
    for role in unmapped:
        found = _counterpart(role, role, dataset, sample)
        what = f"no column is named for {role}, and naming any column drops the defaults; {_have(sample)}"
        set_it = f"Set {_setting(dataset, role, found or 'COLUMN')}."
        yield Problem(key=f"{dataset.key}.columns.{role}", what=what, fix=set_it)


def _defaults_do_not_fit(
    dataset: Dataset, sample: Sample, absent: Mapping[str, str], unmapped: Sequence[str]
) -> Problem:
    """Returns one problem for all default columns, since naming one column means naming them all."""
    columns = effective_columns(dataset)
    found = {role: _counterpart(role, column, dataset, sample) for role, column in absent.items()}
    found |= {role: _counterpart(role, role, dataset, sample) for role in unmapped}
    whole = {role: column for role, column in columns.items() if role not in absent} | found
    settings = " ".join(_setting(dataset, role, column) for role, column in whole.items() if column)
    lacks = [*(f"no column `{column}`" for column in absent.values()), *(f"no column for {r}" for r in unmapped)]
    what = f"{', '.join(lacks)}; {_have(sample)}"
    set_them = f"Set {settings}." if any(found.values()) else f"Name the columns with {dataset.key}.columns."
    return Problem(key=dataset.key, what=what, fix=_fix(set_them, dataset, sample, next(iter(absent.values()), "")))


def _fix(setting: str, dataset: Dataset, sample: Sample, column: str) -> str:
    lines = [setting or f"Name one of these columns with {dataset.key}.columns."]
    first = sample.rows[0]
    wrapping = [name for name, value in first.items() if _first_object(value).keys() & {column}]
    if len(sample.rows) == 1 and wrapping:
        lines = [f"The file is one object; make it the list that is its field `{wrapping[0]}`."]
    if not sample.complete:
        lines.append("If later rows have it: data.check=all looks at every row.")
    return "\n".join(lines)


def _first_object(value: Json) -> Mapping[str, Json]:
    return value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else {}


def _have(sample: Sample) -> str:
    return f"the rows have {', '.join(f'`{column}`' for column in sample.columns)}."


def _setting(dataset: Dataset, role: str, column: str) -> str:
    return f"{dataset.key}.columns.{role}={column}"


def _counterpart(role: str, column: str, dataset: Dataset, sample: Sample) -> str:
    """Returns the column that was probably meant: one spelled alike, or a synonym, that plays no other role."""
    taken = {name for other, name in effective_columns(dataset).items() if other != role}
    free = {name.lower(): name for name in reversed(sample.columns) if name not in taken}
    alike = difflib.get_close_matches(column.lower(), free, n=1, cutoff=0.75)
    known = [*alike, *(name for name in _SYNONYMS[role] if name in free)]
    return free[known[0]] if known else ""


# -------------------------------------------------------------------------------------------------------------- values


class _DroppedError(Exception):
    """The trainer would drop this row; the reason is the argument."""


class _FatalError(Exception):
    """The trainer would stop at this row; the arguments are the role or tag at fault, and the reason."""


def _broken(reason: str) -> NoReturn:
    raise _DroppedError(reason)


def _fatal(role: str, reason: str) -> NoReturn:
    raise _FatalError(role, reason)


@dataclass(slots=True)
class _Tally:
    """How many rows have some flaw, and where the first is."""

    place: str
    count: int = 0


def _values(dataset: Dataset, sample: Sample, shape: RowShape) -> Iterator[Problem]:
    reader = _Reader(dataset, shape)
    dropped: dict[str, _Tally] = {}
    fatal: dict[tuple[str, str], _Tally] = {}
    doubts: dict[str, _Tally] = {}
    for row, place in zip(sample.rows, sample.places, strict=True):
        try:
            for doubt in reader.doubts(row):
                doubts.setdefault(doubt, _Tally(place)).count += 1
        except _DroppedError as error:
            dropped.setdefault(str(error), _Tally(place)).count += 1
        except _FatalError as error:
            fatal.setdefault(error.args, _Tally(place)).count += 1
    for (role, reason), tally in fatal.items():
        yield Problem(
            key=_key(dataset, role), what=f"{_at(tally, sample)}: {reason}", fix=_retag(dataset, sample, role)
        )
    yield from _dropped(dataset, sample, dropped)
    for doubt, tally in doubts.items():
        yield warning(dataset.key, f"{_at(tally, sample)}: {doubt}")
    if shape is RowShape.FEEDBACK and sample.complete and not fatal and not dropped:
        yield from _one_sided(dataset, sample)


def _key(dataset: Dataset, role: str) -> str:
    if role in dataset.columns:
        return f"{dataset.key}.columns.{role}"
    return f"{dataset.key}.tags.{role}" if role in _DEFAULT_TAGS else dataset.key


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


def _retag(dataset: Dataset, sample: Sample, role: str) -> str:
    """Returns the settings under which messages written as OpenAI does can be read, when that is what they are."""
    column = effective_columns(dataset).get("messages", "")
    message = next((_first_object(row.get(column)) for row in sample.rows if row.get(column)), {})
    if role not in _DEFAULT_TAGS or not message:
        return ""
    if {"role", "content"} <= message.keys() and effective_tags(dataset).get("role_tag") != "role":
        return "Set " + " ".join(f"{dataset.key}.tags.{tag}={name}" for tag, name in _OPENAI_TAGS.items()) + "."
    return f"The messages have {', '.join(f'`{name}`' for name in message)}; name them with {dataset.key}.tags."


class _Reader:
    """Reads one row after another as the trainer's converter would."""

    def __init__(self, dataset: Dataset, shape: RowShape) -> None:
        self._columns = effective_columns(dataset)
        self._tags = effective_tags(dataset)
        self._dataset = dataset
        self._shape = shape
        self._read: Callable[[Row], Iterator[str]] = self._chat if _is_chat(dataset) else self._alpaca

    def doubts(self, row: Row) -> Iterator[str]:
        """Yields what is odd about a row that can be used.

        Raises:
          _DroppedError: the trainer would drop the row.
          _FatalError: the trainer would stop at it.
        """
        self._text(row, "system")
        if self._dataset.format != "openai":
            self._text(row, "tools")
        yield from self._read(row)

    def _value(self, row: Row, role: str) -> Json:
        return row.get(self._columns[role]) if role in self._columns else None

    def _text(self, row: Row, role: str) -> str:
        value = self._value(row, role)
        if not isinstance(value, str | None):
            _fatal(role, f"{role} `{self._columns[role]}` is {kind_of(value)}, not a string.")
        return value or ""

    def _alpaca(self, row: Row) -> Iterator[str]:
        self._history(row)
        if not any([self._text(row, "prompt"), self._text(row, "query")]):
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
            _broken(f"no {role} (`{self._columns[role]}` is absent or null).")
        return self._text(row, role)

    def _history(self, row: Row) -> None:
        turns = self._value(row, "history")
        pairs = turns if isinstance(turns, list) else []
        whole = all(isinstance(pair, list) and [type(text) for text in pair] == [str, str] for pair in pairs)
        if not isinstance(turns, list | None) or not whole:
            _fatal(
                "history", f"history `{self._columns['history']}` is not a list of [prompt, response] pairs of text."
            )

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
            _broken(f"no mark (`{column}` is absent or null).")
        if not isinstance(tag, bool):
            _fatal(
                "kto_tag", f"kto_tag `{column}` is {kind_of(tag)}, not true or false; the row would count as unmarked."
            )

    # ---- chat

    def _chat(self, row: Row) -> Iterator[str]:
        roles, texts = self._turns(row)
        ranking = self._dataset.ranking
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
            _fatal("messages", reason)
        _broken(reason)

    def _turns(self, row: Row) -> tuple[list[str], list[str]]:
        """Returns the roles and the texts of the messages, but the leading system message."""
        messages = self._value(row, "messages")
        if not isinstance(messages, list):
            what = f"`{self._columns['messages']}` is {kind_of(messages)}, not a list of messages."
            _fatal("messages", what)
        said = [self._message(message, f"message {number}") for number, message in enumerate(messages, 1)]
        if said and self._tags.get("system_tag") and said[0][0] == self._tags["system_tag"]:
            said = said[1:]
        if self._dataset.format == "openai":
            said = self._join_observations(said)
        return [role for role, _ in said], [text for _, text in said]

    def _message(self, message: Json, name: str) -> tuple[str, str]:
        if not isinstance(message, dict):
            _fatal("messages", f"{name} is {kind_of(message)}, not an object.")
        for tag in ("role_tag", "content_tag"):
            if self._tags.get(tag) not in message:
                _fatal(tag, f"{name} has no `{self._tags.get(tag, tag)}`.")
        role, text = message[self._tags["role_tag"]], message[self._tags["content_tag"]]
        if self._dataset.format == "openai" and message.get("tool_calls"):
            role, text = self._tags.get("function_tag", "tool_calls"), "tool_calls"
        if not isinstance(text, str):
            _fatal("messages", f"the content of {name} is {kind_of(text)}, not a string.")
        if self._dataset.format == "openai" and role not in self._tags.values():
            _fatal("role_tag", f"{name} is from `{role}`, which no tag names.")
        return str(role), text

    def _join_observations(self, said: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Returns the turns with runs of tool answers made one; a run at the end is lost, as the converter loses it."""
        observation = self._tags.get("observation_tag")
        after = [*(role for role, _ in said[1:]), ""]
        runs = [turn for turn, then in zip(said, after, strict=True) if not turn[0] == then == observation]
        return runs[:-1] if runs and runs[-1][0] == observation else runs

    def _choice(self, row: Row, role: str) -> str:
        value = self._value(row, role)
        if not isinstance(value, dict):
            _broken(f"{role} `{self._columns[role]}` is {kind_of(value)}, not a message.")
        speaker, text = self._message(value, role)
        if speaker not in {self._tags.get("assistant_tag"), self._tags.get("function_tag")}:
            _fatal(role, f"{role} is from `{speaker}`, not from the assistant.")
        return text
