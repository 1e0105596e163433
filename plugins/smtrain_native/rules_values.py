"""Rules about values that a type lets pass and that cannot be carried to the target, or computed with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass

from smtrain.plugin import Job, Problem
from smtrain_native.options import NativeOptions


def numbers_are_finite(job: Job, options: NativeOptions) -> Iterator[Problem]:
    """JSON has no infinity, and nothing trains with one."""
    del job
    for key, value in _leaves("trainer", options):
        if isinstance(value, float) and not math.isfinite(value):
            yield Problem(key=key, what=f"{value} is no number to train with.", fix="Give a finite number.")


def texts_are_text(job: Job, options: NativeOptions) -> Iterator[Problem]:
    """Bytes that are no UTF-8 on the command line become lone surrogates, which no file of text can hold."""
    run = job.run
    sets = ((f"{dataset.key}.path", dataset.location) for dataset in job.datasets)
    named = (
        ("model.path", run.model.path),
        ("model.revision", run.model.revision),
        ("model.adapter", run.model.adapter),
    )
    for key, value in (*_leaves("trainer", options), *named, *sets):
        if isinstance(value, str) and ("\0" in value or not _encodes(value)):
            yield Problem(key=key, what=f"{value!a} is not text.", fix="Write it in UTF-8, without NUL.")


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _leaves(key: str, value: object) -> Iterator[tuple[str, object]]:
    """Yields every value below a section, with its key."""
    if is_dataclass(value):
        for field in fields(value):
            yield from _leaves(f"{key}.{field.name}", getattr(value, field.name))
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves(f"{key}.{name}", item)
    elif isinstance(value, tuple):
        for item in value:
            yield from _leaves(key, item)
    else:
        yield key, value


RULES = (numbers_are_finite, texts_are_text)
