"""What became of the rows of a data set, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

SHOWN_IDS = 5
_PERCENTILES = (50, 90, 99)


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many samples something happened to.

    Attributes:
      samples: how many.
      prompt_ids: of the first few.
    """

    samples: int
    prompt_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of a set's rows.

    Attributes:
      name: of the set.
      role: "train" or "eval".
      rows: that were read.
      samples: that they hold; a list of responses makes several.
      kept: samples that the policies leave.
      drawn: samples of an epoch, after num_samples and the weight.
      dropped: reason → samples that were left out.
      remarks: what is odd about samples that were kept.
      tokens: of an epoch, by part.
      lengths: "prompt", "response" and "sequence" → percentile → tokens, of an epoch.
    """

    name: str
    role: str
    rows: int
    samples: int
    kept: int
    drawn: int
    dropped: Mapping[str, Count] = field(default_factory=dict)
    remarks: Mapping[str, Count] = field(default_factory=dict)
    tokens: Mapping[str, int] = field(default_factory=dict)
    lengths: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @classmethod
    def parse(cls, plain: Mapping[str, object]) -> Report:
        """Returns a report from what `asdict` made of one."""
        counted = {name: _counts(plain[name]) for name in ("dropped", "remarks")}
        return cls(**{**plain, **counted})  # type: ignore[arg-type]

    def lines(self) -> Iterator[str]:
        """Yields the report in words."""
        yield f"{self.name} ({self.role}): {self.rows:,} rows, {self.samples:,} samples, {self.kept:,} kept" + (
            f", {self.drawn:,} drawn for an epoch" if self.drawn != self.kept else ""
        )
        for word, counts in (("dropped", self.dropped), ("warning", self.remarks)):
            for reason, count in counts.items():
                ids = ", ".join(count.prompt_ids) + (", …" if count.samples > len(count.prompt_ids) else "")
                yield f"  {word}: {count.samples:,} × {reason} ({ids})"
        if self.tokens:
            yield "  tokens of an epoch: " + ", ".join(f"{part} {count:,}" for part, count in self.tokens.items())
        for part, lengths in self.lengths.items():
            yield f"  length of a {part}: " + ", ".join(f"{name} {length:,}" for name, length in lengths.items())


def _counts(plain: object) -> dict[str, Count]:
    told = plain if isinstance(plain, dict) else {}
    return {
        reason: Count(samples=each["samples"], prompt_ids=tuple(each["prompt_ids"])) for reason, each in told.items()
    }


def tokens_by_part(lengths: np.ndarray) -> dict[str, int]:
    """Returns the tokens of all samples; of lengths of shape (N, 1 + responses)."""
    return {part: int(column.sum(dtype=np.int64)) for part, column in zip(_parts(lengths), lengths.T, strict=True)}


def percentiles(lengths: np.ndarray) -> dict[str, dict[str, int]]:
    """Returns how long the parts and the sequences are; a sequence is the prompt and its longer response."""
    columns = dict(zip(_parts(lengths), lengths.T, strict=True))
    columns["sequence"] = lengths[:, 0] + lengths[:, 1:].max(axis=1)
    return {part: _percentiles(column) for part, column in columns.items()}


def _parts(lengths: np.ndarray) -> tuple[str, ...]:
    return ("prompt", "response") if lengths.shape[1] == 2 else ("prompt", "chosen", "rejected")  # noqa: PLR2004


def _percentiles(column: np.ndarray) -> dict[str, int]:
    found = np.percentile(column, _PERCENTILES, method="higher")
    named = {f"p{share}": int(length) for share, length in zip(_PERCENTILES, found, strict=True)}
    return {"min": int(column.min()), **named, "max": int(column.max())}
