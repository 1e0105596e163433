"""Reads rows of local files the way the trainers' loader does, and says what that loader would trip over.

The loader is Hugging Face `datasets` 4.0, with pyarrow and pandas below it. What it takes and refuses differs from what
its documentation says; each rule here was found by trying, and tests/test_rows.py tries it again.
"""

from __future__ import annotations

from smtrain.rows.opening import suffix_of
from smtrain.rows.reading import SUFFIXES, read, read_files
from smtrain.rows.sample import Row, RowProblem, Sample
from smtrain.rows.value_types import kind_of

__all__ = ["SUFFIXES", "Row", "RowProblem", "Sample", "kind_of", "read", "read_files", "suffix_of"]
