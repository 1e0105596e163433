"""The samples of several sets, numbered through; for SamPO, with the tokens that it counts."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from smtrain_native.runtime import sampled_tokens
from smtrain_native.runtime.layout import Encoded
from smtrain_native.runtime.settings import Settings
from smtrain_native.runtime.spreading import Samples


class TokenSet(Samples, Protocol):
    """One set in tokens."""

    @property
    def name(self) -> str:
        """Its name within the run."""
        ...

    @property
    def digest(self) -> str:
        """Differs wherever the samples may differ."""
        ...

    def prompt_id(self, number: int) -> str:
        """Returns the name of a sample."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A sample whose trained tokens were chosen here."""

    prompt_id: str
    prompt: np.ndarray
    responses: tuple[np.ndarray, ...]
    masks: tuple[np.ndarray | None, ...]


class Joined:
    """Sets, numbered through."""

    def __init__(self, sets: Sequence[Samples], *, sampled: int | None = None) -> None:
        """Joins them.

        Args:
          sets: at least one.
          sampled: the seed with which SamPO draws the tokens that count; None counts all.
        """
        self._sets = tuple(sets)
        self._ends = np.cumsum([len(each) for each in sets]).tolist()
        self._sampled = sampled
        self.lengths = np.concatenate([each.lengths for each in sets])

    def __len__(self) -> int:
        """Samples in all."""
        return len(self.lengths)

    def sample(self, number: int) -> Encoded:
        """Returns a sample."""
        which = bisect.bisect_right(self._ends, number)
        found = self._sets[which].sample(number - (self._ends[which - 1] if which else 0))
        return found if self._sampled is None else _sampled(found, self._sampled)


def seed_of_samples(settings: Settings) -> int | None:
    """Returns the seed with which tokens are drawn; None for losses that count them all."""
    return settings.seed if settings.loss.kind == "sampo" else None


def _sampled(sample: Encoded, seed: int) -> Sample:
    trained = [_trained(response, mask) for response, mask in zip(sample.responses, sample.masks, strict=True)]
    chosen, rejected = (len(each) for each in trained)
    drawn = sampled_tokens.positions(sample.prompt_id, seed, chosen_tokens=chosen, rejected_tokens=rejected)
    masks = tuple(
        _mask(len(response), places[positions])
        for response, places, positions in zip(sample.responses, trained, drawn, strict=True)
    )
    return Sample(prompt_id=sample.prompt_id, prompt=sample.prompt, responses=sample.responses, masks=masks)


def _trained(response: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Returns the places of the tokens that are trained on; of a response of several turns, not all are."""
    return np.arange(len(response)) if mask is None else np.flatnonzero(mask)


def _mask(length: int, positions: np.ndarray) -> np.ndarray:
    mask: np.ndarray = np.zeros(length, bool)
    mask[positions] = True
    return mask
