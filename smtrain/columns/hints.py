"""What was probably meant: the column for a role, the tags for messages, the list inside an object."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from smtrain.columns.mapping import DEFAULT_TAGS, effective_columns, effective_tags
from smtrain.columns.settings import set_to, spoken
from smtrain.rows import Sample
from smtrain.spec import Dataset, Json

OPENAI_TAGS = MappingProxyType(
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
        "prompt_id": ("prompt_id", "id"),
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


def counterpart(role: str, column: str, dataset: Dataset, sample: Sample) -> str:
    """Returns the column that was probably meant: one spelled alike, or a synonym, that plays no other role."""
    from difflib import get_close_matches

    taken = {name for other, name in effective_columns(dataset).items() if other != role}
    free = {name.lower(): name for name in reversed(sample.columns) if name not in taken}
    alike = get_close_matches(column.lower(), free, n=1, cutoff=0.75)
    known = [*alike, *(name for name in _SYNONYMS[role] if name in free)]
    return free[known[0]] if known else ""


def retagged(dataset: Dataset, sample: Sample, role: str) -> str:
    """Returns the settings under which messages written as OpenAI does can be read, when that is what they are."""
    column = effective_columns(dataset).get("messages", "")
    message = next((_first_object(row.get(column)) for row in sample.rows if row.get(column)), {})
    if role not in DEFAULT_TAGS or not message:
        return ""
    if {"role", "content"} <= message.keys() and effective_tags(dataset).get("role_tag") != "role":
        return f"{set_to(dataset, {f'tags.{tag}': name for tag, name in OPENAI_TAGS.items()})}."
    return f"The messages have {', '.join(f'`{name}`' for name in message)}; name them with {spoken(dataset, 'tags')}."


def wrapping_field(sample: Sample, column: str) -> str:
    """Returns the field that holds the rows, where the file is one object around their list; otherwise ""."""
    if len(sample.rows) != 1:
        return ""
    return next((name for name, value in sample.rows[0].items() if column in _first_object(value)), "")


def _first_object(value: Json) -> Mapping[str, Json]:
    return value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else {}
