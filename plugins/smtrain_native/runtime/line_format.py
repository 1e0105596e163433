"""The lines that a training prints, and the regular expressions that read them. Standard library only.

    step 12/100  epoch 0.1200  loss 0.6931  lr 1.0e-05  grad_norm 1.23  tokens/s 4698
    step 12/100  eval/dev/loss 0.7012  eval/dev/accuracy 0.625

A line begins with `step DONE/ALL`; pairs of a name and a number follow, divided by white space, which is in no name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

METRICS_FILE = "metrics.jsonl"
"""Within the output folder: a JSON object a line with `step`, `total_steps` and whatever was measured."""

_START = r"step [0-9]+/[0-9]+\s"
_NUMBER = r"([-+]?(?:[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|nan|inf))"
# No lookaround: the engines that read metrics off logs do not all have it.
_END = r"(?:[^A-Za-z0-9]|$)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One metric of a training.

    Attributes:
      field: its name in metrics.jsonl, and of the metric.
      label: its name in a printed line.
      form: how its number is printed, a format specification.
    """

    field: str
    label: str
    form: str


COLUMNS = (
    Column(field="epoch", label="epoch", form=".4f"),
    Column(field="loss", label="loss", form="#.4g"),
    Column(field="learning_rate", label="lr", form="#.2g"),
    Column(field="grad_norm", label="grad_norm", form="#.3g"),
    Column(field="accuracy", label="accuracy", form=".3f"),
    Column(field="margin", label="margin", form="#.3g"),
    Column(field="chosen_reward", label="chosen_reward", form="#.3g"),
    Column(field="rejected_reward", label="rejected_reward", form="#.3g"),
    Column(field="chosen_logps", label="chosen_logps", form="#.4g"),
    Column(field="rejected_logps", label="rejected_logps", form="#.4g"),
    Column(field="samples", label="samples", form=".1f"),
    Column(field="tokens_per_s", label="tokens/s", form=".0f"),
    Column(field="fill", label="fill", form=".3f"),
    Column(field="memory_gib", label="memory_gib", form=".2f"),
    Column(field="mfu", label="mfu", form=".3f"),
)
"""Metrics of a training, in the order in which they are printed. What a training does not measure is left out."""

_BY_FIELD = {column.field: column for column in COLUMNS}
_FORM = "#.4g"


def _pattern(label: str) -> str:
    return rf"{_START}(?:.*\s)?{re.escape(label)}\s+{_NUMBER}{_END}"


PATTERNS: Mapping[str, str] = {column.field: _pattern(column.label) for column in COLUMNS}
"""Metric → regular expression whose first group is the number, nan and inf included."""


def evaluation_field(name: str, metric: str) -> str:
    """Returns the field of metrics.jsonl for a metric of an evaluation set."""
    return f"eval/{name}/{metric}"


def evaluation_fields(names: Iterable[str], metrics: Iterable[str]) -> Mapping[str, str]:
    """Returns metric → field of metrics.jsonl for evaluation sets.

    Args:
      names: of the sets.
      metrics: of each.

    Returns:
      The metrics are named `eval_SET_METRIC` in lower-case letters, digits and underscores; sets whose names then are
      the same are numbered.
    """
    metrics = tuple(metrics)
    return {
        f"eval_{plain}_{metric}": evaluation_field(name, metric) for plain, name in _plain(names) for metric in metrics
    }


def evaluation_patterns(names: Iterable[str], metrics: Iterable[str]) -> Mapping[str, str]:
    """Returns what PATTERNS is to a training for evaluation sets; the metrics are those of `evaluation_fields`."""
    return {metric: _pattern(_label(field)) for metric, field in evaluation_fields(names, metrics).items()}


def line(step: int, total: int, values: Mapping[str, float]) -> str:
    """Returns the line of a step.

    Args:
      step: optimizer steps done.
      total: of the whole training.
      values: field of metrics.jsonl → its number.
    """
    known = [column.field for column in COLUMNS if column.field in values]
    fields = [*known, *(field for field in values if field not in _BY_FIELD)]
    return "  ".join((f"step {step}/{total}", *(f"{_label(field)} {_text(field, values[field])}" for field in fields)))


def _label(field: str) -> str:
    known = _BY_FIELD.get(field)
    return known.label if known else re.sub(r"\s", "_", field)


def _text(field: str, value: float) -> str:
    known = _BY_FIELD.get(field)
    # `#` keeps the zeros that align columns, and a point with nothing behind it.
    return f"{value:{known.form if known else _FORM}}".removesuffix(".")


def _plain(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    taken: set[str] = set()
    for name in names:
        base = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "set"
        plain, number = base, 1
        while plain in taken:
            number += 1
            plain = f"{base}_{number}"
        taken.add(plain)
        yield plain, name
