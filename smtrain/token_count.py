"""How many tokens the rows come to, where a tokenizer is at hand."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from smtrain.columns import effective_columns, effective_tags
from smtrain.rows import Row, Sample
from smtrain.spec import Dataset, Json

_MOST_TEXTS = 1000
_TEXT_ROLES = ("system", "tools", "history", "messages", "prompt", "query", "response", "chosen", "rejected")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenEstimate:
    """The mean length of rows.

    Attributes:
      mean: tokens a row, without what a chat template adds.
      counted: rows that were counted.
    """

    mean: float
    counted: int


def estimate(model_dir: Path, texts: Iterable[str]) -> TokenEstimate | None:
    """Returns the mean number of tokens of the first thousand texts; None without a tokenizer, or without texts.

    Args:
      model_dir: a model's folder; its tokenizer.json is used, through the package `tokenizers` where that is installed.
      texts: the text of each row.
    """
    file = model_dir / "tokenizer.json"
    if not file.is_file():
        return None
    try:
        from tokenizers import Tokenizer
    except ImportError:
        return None
    batch = list(itertools.islice(texts, _MOST_TEXTS))
    if not batch:
        return None
    tokenizer = Tokenizer.from_file(str(file))
    # A tokenizer.json may say to cut and to pad; the count is of the text itself.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    counts = [len(encoding.ids) for encoding in tokenizer.encode_batch(batch, add_special_tokens=False)]
    return TokenEstimate(mean=sum(counts) / len(counts), counted=len(counts))


def texts(dataset: Dataset, sample: Sample) -> Iterator[str]:
    """Yields all text of each row that the mapping reads, the two responses of a preference included."""
    columns = effective_columns(dataset)
    content = effective_tags(dataset).get("content_tag", "")
    for row in sample.rows:
        yield "\n".join(text for value in _read(row, columns) for text in _strings(value, content) if text)


def _read(row: Row, columns: Mapping[str, str]) -> Iterator[Json]:
    yield from (row.get(columns[role]) for role in _TEXT_ROLES if role in columns)


def _strings(value: Json, content: str) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _strings(value.get(content), content)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item, content)
