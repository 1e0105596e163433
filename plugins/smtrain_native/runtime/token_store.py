"""The data sets of a training in tokens, made when they are first asked for, and read where they lie."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import numpy as np

from smtrain_native.runtime.prepare import Prepared, prepare
from smtrain_native.runtime.settings import Settings
from smtrain_native.runtime.shards import Sample
from smtrain_native.runtime.tokenize_progress import Progress

__all__ = ["Sample", "TokenSet", "open_sets"]


class TokenSet:
    """The samples of one data set and epoch: the policies have been applied, and the weight."""

    def __init__(self, prepared: Prepared) -> None:
        """Opens what was prepared."""
        self._prepared = prepared
        self._rows_N = prepared.rows()
        self._lengths = prepared.lengths()

    def __len__(self) -> int:
        """Samples of an epoch."""
        return len(self._rows_N)

    def __reduce__(self) -> tuple[type[TokenSet], tuple[Prepared]]:
        """Sends the path to another process, not the samples."""
        return TokenSet, (self._prepared,)

    @property
    def name(self) -> str:
        """The set's name."""
        return self._prepared.dataset.name

    @property
    def digest(self) -> str:
        """Differs wherever the samples, or their order, may differ."""
        return self._prepared.digest

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of the prompt and of each response; shape (N, 1 + responses), int32."""
        return self._lengths

    def prompt_id(self, number: int) -> str:
        """Returns a sample's name."""
        return self._prepared.store.prompt_id(int(self._rows_N[number]))

    def sample(self, number: int) -> Sample:
        """Returns a sample, cut to its lengths: the prompt at its left, the responses at their right."""
        whole = self._prepared.store.sample(int(self._rows_N[number]))
        prompt, *responses = self._lengths[number].tolist()
        return Sample(
            prompt_id=whole.prompt_id,
            prompt=whole.prompt[len(whole.prompt) - prompt :],
            responses=tuple(tokens[:length] for tokens, length in zip(whole.responses, responses, strict=True)),
            masks=tuple(
                None if mask is None else mask[:length] for mask, length in zip(whole.masks, responses, strict=True)
            ),
        )


def open_sets(settings: Settings, role: Literal["train", "eval"], directory: Path = Path()) -> tuple[TokenSet, ...]:
    """Returns the sets of one role in the order of the settings; what is not in the cache is made.

    Args:
      settings: of the training.
      role: "train" or "eval".
      directory: that relative paths start from.

    Raises:
      DataError: the rows, the tokenizer, a policy or the disk do not allow it.
    """
    progress = Progress(sys.stderr)
    wanted = [dataset for dataset in settings.data.sets if dataset.role == role]
    return tuple(TokenSet(prepare(settings, dataset, directory, progress)) for dataset in wanted)
