"""Which samples of a store are trained on, and how much of each: every policy, counted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from smtrain_native.runtime.data_errors import DataError
from smtrain_native.runtime.data_report import SHOWN_IDS, Count, Report, percentiles, tokens_by_part
from smtrain_native.runtime.row_shapes import Flaw
from smtrain_native.runtime.settings import DataSet, Policy, Settings, TooLong
from smtrain_native.runtime.store import Store

LEAST_LENGTH = 2
_UNUSABLE = {
    Flaw.TURNS: "messages do not take turns up to the assistant's",
    Flaw.NO_RESPONSE: "no response",
    Flaw.EMPTY_RESPONSE: "empty response",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """What decides which samples are trained on.

    Attributes:
      max_length: of a prompt with a response, tokens.
      too_long: what becomes of a sample above it.
      duplicates: what becomes of a sample whose prompt_id was kept before.
      identical: what becomes of a pair of equal responses.
      weight: how often a sample appears in an epoch.
      num_samples: draw so many before the weight counts.
      draw: decides what is drawn, so that sets differ; None where nothing is.
    """

    max_length: int
    too_long: TooLong
    duplicates: Policy
    identical: Policy
    weight: float
    num_samples: int | None
    draw: str | None


def policies_of(settings: Settings, dataset: DataSet) -> Policies:
    """Returns the policies for one set; an evaluation set has no weight.

    Raises:
      DataError: a number is out of its range.
    """
    weight = dataset.weight if dataset.role == "train" else 1.0
    for name, value, least in (
        ("max_length", settings.data.max_length, LEAST_LENGTH),
        (f"sets.{dataset.name}.num_samples", dataset.num_samples, 1),
    ):
        if value is not None and value < least:
            message = f"data.{name} is {value}; it must be at least {least}."
            raise DataError(message)
    if not 0 < weight < float("inf"):
        message = f"data.sets.{dataset.name}.weight is {weight}; it must be above 0."
        raise DataError(message)
    draws = dataset.num_samples is not None or weight != int(weight)
    return Policies(
        max_length=settings.data.max_length,
        too_long=settings.data.too_long,
        duplicates=settings.data.duplicates,
        identical=settings.data.identical,
        weight=weight,
        num_samples=dataset.num_samples,
        draw=f"{settings.seed} {dataset.name}" if draws else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The samples of an epoch.

    Attributes:
      rows: their numbers in the store, int64; a number may come more than once.
      lengths: tokens of prompt and responses after truncation; shape (N, 1 + responses), int32.
      report: what became of the others.
    """

    rows: np.ndarray
    lengths: np.ndarray
    report: Report


def select(store: Store, dataset: DataSet, policies: Policies) -> Selection:
    """Applies the policies in this order: unusable, identical, too long, duplicates, num_samples, weight.

    A duplicate is a sample whose prompt_id one that was kept has already; the first is the one that stays.

    Raises:
      DataError: a policy says "error" and there is such a sample, or none is left.
    """
    sieve = _Sieve(store, dataset.name)
    flaws = store.flaws()
    lengths = store.lengths()
    for flaw, reason in _UNUSABLE.items():
        sieve.apply(flaws == flaw, reason, "drop")
    sieve.apply(lengths[:, 0] == 0, "empty prompt: there is nothing to predict the first token from", "drop")
    sieve.apply(flaws == Flaw.IDENTICAL, "chosen and rejected are identical", policies.identical)
    longest = lengths[:, 0] + lengths[:, 1:].max(axis=1, initial=0)
    reason = f"longer than max_length={policies.max_length}"
    if policies.too_long == "truncate":
        sieve.apply(longest > policies.max_length, f"{reason}, truncated", "keep")
        lengths = truncated(lengths, policies.max_length)
    else:
        sieve.apply(longest > policies.max_length, reason, policies.too_long)
    sieve.apply(_repeated(store.prompt_ids(), sieve.kept), "prompt_id seen before", policies.duplicates)
    sieve.apply(store.unended(), "prompt does not end in a newline", "keep")
    kept = np.flatnonzero(sieve.kept)
    rows = _drawn(kept, policies) if len(kept) else kept
    if not len(rows):
        raise DataError(_nothing_left(store, dataset, sieve, len(kept)))
    drawn = np.ascontiguousarray(lengths[rows])
    report = Report(
        name=dataset.name,
        role=dataset.role,
        rows=store.rows,
        samples=len(store),
        kept=len(kept),
        drawn=len(rows),
        dropped=sieve.dropped,
        remarks=sieve.remarks,
        tokens=tokens_by_part(drawn),
        lengths=percentiles(drawn),
    )
    return Selection(rows=rows, lengths=drawn, report=report)


def truncated(lengths: np.ndarray, max_length: int) -> np.ndarray:
    """Returns what is left of each part.

    The prompt loses tokens at its left, until the longest response fits beside it; one token stays at least, for the
    response's first token to be predicted from. Each response that still does not fit loses tokens at its right, its
    end-of-sequence token first.
    """
    longest = lengths[:, 1:].max(axis=1, initial=0)
    prompt = np.minimum(lengths[:, 0], np.maximum(max_length - longest, 1))
    responses = np.minimum(lengths[:, 1:], (max_length - prompt)[:, None])
    left: np.ndarray = np.concatenate((prompt[:, None], responses), axis=1).astype(np.int32)
    return left


class _Sieve:
    """What is still kept, and the counts of what is not."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name = store, name
        self.kept: np.ndarray = np.ones(len(store), np.bool_)
        self.dropped: dict[str, Count] = {}
        self.remarks: dict[str, Count] = {}

    def apply(self, found: np.ndarray, reason: str, policy: Policy) -> None:
        found = np.flatnonzero(found & self.kept)
        if not len(found):
            return
        if policy == "error":
            places = ", ".join(self._store.place(row) for row in found[:SHOWN_IDS])
            more = f" and {len(found) - SHOWN_IDS} more" if len(found) > SHOWN_IDS else ""
            message = f"data set {self._name}: {reason}: {places}{more}. Mend the rows, or set the policy to drop."
            raise DataError(message)
        ids = tuple(self._store.prompt_id(row) for row in found[:SHOWN_IDS])
        counts = self.dropped if policy == "drop" else self.remarks
        counts[reason] = Count(samples=len(found), prompt_ids=ids)
        if policy == "drop":
            self.kept[found] = False


def _repeated(prompt_ids: pa.ChunkedArray, kept: np.ndarray) -> np.ndarray:
    """Returns for each sample whether it is kept so far and one before it that is has the same prompt_id."""
    names = prompt_ids.filter(pa.array(kept))
    codes = pc.dictionary_encode(names).combine_chunks()
    indices = codes.indices.to_numpy() if isinstance(codes, pa.DictionaryArray) else np.empty(0, np.int32)
    _, firsts = np.unique(indices, return_index=True)
    again: np.ndarray = np.ones(len(indices), np.bool_)
    again[firsts] = False
    found: np.ndarray = np.zeros(len(kept), np.bool_)
    found[np.flatnonzero(kept)[again]] = True
    return found


def _drawn(kept: np.ndarray, policies: Policies) -> np.ndarray:
    """Returns the samples of an epoch in their order: each as often as others, but for the remainder's sake."""
    rows = kept
    if policies.num_samples is not None:
        rows = _of_size(rows, policies.num_samples, _generator(f"{policies.draw} num_samples"))
    if policies.weight == 1:
        return rows
    return _of_size(rows, round(policies.weight * len(rows)), _generator(f"{policies.draw} weight"))


def _of_size(rows: np.ndarray, size: int, generator: np.random.RandomState) -> np.ndarray:
    times, rest = divmod(size, len(rows))
    extra = rows[np.sort(generator.permutation(len(rows))[:rest])]
    drawn: np.ndarray = np.sort(np.concatenate([*([rows] * times), extra]), kind="stable").astype(np.int64)
    return drawn


def _generator(purpose: str) -> np.random.RandomState:
    # RandomState, because NumPy promises that its streams stay as they are (NEP 19).
    digest = hashlib.sha256(purpose.encode()).digest()
    return np.random.RandomState(np.frombuffer(digest, np.uint32))


def _nothing_left(store: Store, dataset: DataSet, sieve: _Sieve, kept: int) -> str:
    if not len(store):
        return f"data set {dataset.name}: there are no rows in {', '.join(dataset.files)}."
    if kept:
        return f"data set {dataset.name}: weight={dataset.weight} of {kept} samples leaves none. Set a larger weight."
    reasons: Sequence[str] = [f"{count.samples} × {reason}" for reason, count in sieve.dropped.items()]
    return f"data set {dataset.name}: of {len(store)} samples none is left: {'; '.join(reasons)}."
