"""Which micro-batch of which step a sample is in, before ranks are thought of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smtrain_native.runtime.batching.draw import Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The samples' places in an epoch.

    Attributes:
      step_N: optimizer step of every sample.
      bin_N: its micro-batch within the step, 0 … bins_S[step] − 1; none is empty.
      bins_S: micro-batches of every step, over all ranks.
    """

    step_N: Ints
    bin_N: Ints
    bins_S: Ints

    @property
    def width(self) -> int:
        """Samples of the largest step, less those of the smallest."""
        return int(np.ptp(np.bincount(self.step_N)))
