"""The option of the data group that was meant, when the rows are plainly of another kind than the chosen one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from smtrain.columns.hints import OPENAI_TAGS, counterpart
from smtrain.columns.mapping import is_chat
from smtrain.columns.settings import is_own_entry, set_to
from smtrain.errors import Problem
from smtrain.rows import Row, Sample
from smtrain.spec import Dataset, RowShape


def other_kind(dataset: Dataset, sample: Sample, shape: RowShape) -> Iterator[Problem]:
    """Yields a problem when another option of the data group would read these rows, which the chosen one cannot."""
    if is_own_entry(dataset) or not sample.rows:
        return
    row = sample.rows[0]
    messages = next((name for name, value in row.items() if _is_chat(value)), "")
    style = "openai" if messages and "role" in _first(row, messages) else "sharegpt"
    pairs = shape is RowShape.PREFERENCE and {"chosen", "rejected"} <= row.keys()
    unranked = pairs and not dataset.ranking
    if is_chat(dataset) == bool(messages) and not (messages and unranked):
        return
    if not messages and not {"instruction", "output"} <= row.keys():
        return
    columns = {"messages": messages} if messages else {}
    columns |= {"chosen": "chosen", "rejected": "rejected"} if messages and pairs else {}
    if shape is RowShape.FEEDBACK and (mark := counterpart("kto_tag", "kto_tag", dataset, sample)):
        columns |= {"kto_tag": mark}
    have = ", ".join(f"`{column}`" for column in sample.columns)
    kind = f"the messages are in `{messages}`" if messages else "there are no messages"
    yield Problem(
        key=dataset.key,
        what=f"these are no rows of format {dataset.format}: {kind}; they have {have}.",
        fix=_choose(dataset, style if messages else "alpaca", columns, pairs=bool(pairs)),
    )


def _choose(dataset: Dataset, style: str, columns: Mapping[str, str], *, pairs: bool) -> str:
    tags = OPENAI_TAGS if style == "openai" else {}
    if dataset.key != "data":
        settings = {"format": style, **({"ranking": "true"} if pairs else {})}
        settings |= {f"columns.{role}": column for role, column in columns.items()}
        return f"{set_to(dataset, settings | {f'tags.{tag}': name for tag, name in tags.items()})}."
    option = "sharegpt_preference" if pairs and style == "sharegpt" else style
    if option == "alpaca" and "kto_tag" in columns:
        option = "kto"
    settings = {"ranking": "true"} if pairs and option == "openai" else {}
    default = {"openai": "messages", "alpaca": ""}.get(option, "conversations")
    # A role besides the messages drops the default of the option `sharegpt`, so that both must be named.
    if columns.get("messages") != default or set(columns) - {"messages"}:
        settings |= {f"columns.{role}": column for role, column in columns.items()}
    if option == "sharegpt_preference" and columns["messages"] == default:
        settings = {}
    return " ".join([f"Choose data={option}", *(f"data.{name}={value}" for name, value in settings.items())]) + "."


def _is_chat(value: object) -> bool:
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, dict) and ({"role", "content"} <= first.keys() or {"from", "value"} <= first.keys())


def _first(row: Row, column: str) -> Mapping[str, object]:
    value = row[column]
    return value[0] if isinstance(value, list) and isinstance(value[0], dict) else {}
