"""Whether the rows of a data set, under its format, columns and tags, give the trainer what it will read.

The semantics are those of LLaMA-Factory 0.9.5 (data/parser.py, data/converter.py, data/processor/), which our native
trainer shares. It finds a missing column only after the model is loaded, and drops most broken rows with a log line;
tests/test_columns.py compares the verdicts with its real converters.
"""

from __future__ import annotations

from smtrain.columns.mapping import drop_absent_optional, effective_columns, effective_tags
from smtrain.columns.verdict import check

__all__ = ["check", "drop_absent_optional", "effective_columns", "effective_tags"]
