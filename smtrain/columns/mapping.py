"""Which column plays which role, and what messages call their parts, when all is said and defaulted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from smtrain.columns.settings import is_own_entry
from smtrain.rows import Sample
from smtrain.spec import Dataset, RowShape

# Defaults of LLaMA-Factory's DatasetAttr; `text` is our name for pre-training rows.
_ALPACA = MappingProxyType({"prompt": "instruction", "query": "input", "response": "output"})
_CHAT = MappingProxyType({"messages": "conversations"})
_DEFAULT_COLUMNS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {"alpaca": _ALPACA, "sharegpt": _CHAT, "openai": _CHAT, "text": MappingProxyType({"prompt": "text"})}
)
DEFAULT_TAGS = MappingProxyType(
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
_EVERY_FORMAT = ("prompt_id", "system", "tools", "images", "videos", "audios", "chosen", "rejected", "kto_tag")


def effective_columns(dataset: Dataset) -> Mapping[str, str]:
    """Returns role → column. Giving any column drops all of the format's defaults, as in LLaMA-Factory."""
    return dataset.columns or _DEFAULT_COLUMNS[dataset.format]


def effective_tags(dataset: Dataset) -> Mapping[str, str]:
    """Returns tag → its name in chat messages. Giving any tag drops all defaults, as in LLaMA-Factory."""
    return dataset.tags or DEFAULT_TAGS


def drop_absent_optional(dataset: Dataset, sample: Sample) -> Dataset:
    """Returns the data set without the default `input` column, where the user named no columns and the rows lack it.

    LLaMA-Factory itself would raise KeyError. It does so for an entry of the user's own dataset_info.json, which it is
    given unchanged; such a data set is returned as it is.
    """
    defaults = dataset.format == "alpaca" and not dataset.columns and not is_own_entry(dataset)
    lacking = [role for role, column in _ALPACA.items() if column not in sample.columns]
    if not (defaults and lacking == ["query"]):
        return dataset
    return replace(dataset, columns={role: column for role, column in _ALPACA.items() if role != "query"})


def is_chat(dataset: Dataset) -> bool:
    """Whether rows are lists of messages."""
    return dataset.format in {"sharegpt", "openai"}


def readable(dataset: Dataset) -> tuple[str, ...]:
    """Returns the roles that the format knows."""
    own = ("messages",) if is_chat(dataset) else ("prompt", "query", "response", "history")
    return (*own, *_EVERY_FORMAT)


def needed(dataset: Dataset, shape: RowShape, *, rich: bool = False) -> tuple[str, ...]:
    """Returns the roles that must be mapped; of rich pairs the two responses, which may be whole conversations."""
    chat = is_chat(dataset)
    pair = ("chosen", "rejected") if shape is RowShape.PREFERENCE and dataset.ranking else ()
    tag = ("kto_tag",) if shape is RowShape.FEEDBACK else ()
    if pair and rich:
        return pair
    response = ("response",) if shape in {RowShape.PROMPT_RESPONSE, RowShape.FEEDBACK} and not chat else ()
    return ("messages" if chat else "prompt", *response, *pair, *tag)
