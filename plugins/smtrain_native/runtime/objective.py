"""What a micro-batch contributes to a step's loss and metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from smtrain_native.runtime.layout import Layout
from smtrain_native.runtime.losses import preference_loss, sft
from smtrain_native.runtime.pair_logps import PairLogps
from smtrain_native.runtime.settings import Loss, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The contribution of a micro-batch; divided by the step's total, shares add up to its loss.

    Attributes:
      loss: with gradient; a scalar.
      losses_B: of each sample, to tell which is not finite.
      sums_M: of each metric over the samples, without gradient.
    """

    loss: torch.Tensor
    losses_B: torch.Tensor
    sums_M: torch.Tensor


class Objective(Protocol):
    """A loss and its metrics."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of what `Share.sums_M` holds."""
        ...

    def weight(self, layout: Layout) -> float:
        """Returns what a micro-batch adds to the total that the step's loss is divided by."""
        ...

    def share(self, layout: Layout, logps_R: torch.Tensor, numbers: np.ndarray) -> Share:
        """Returns the contribution of a micro-batch.

        Args:
          layout: of the micro-batch.
          logps_R: log πθ of every target.
          numbers: of its samples.
        """
        ...


class Supervised:
    """The mean negative log-likelihood of a token."""

    metrics = ("loss",)

    def weight(self, layout: Layout) -> float:
        """Returns the tokens that are trained on."""
        return float(layout.lengths_S.sum())

    def share(self, layout: Layout, logps_R: torch.Tensor, numbers: np.ndarray) -> Share:
        """See `Objective`."""
        del numbers
        logps_S = layout.sums(logps_R)
        loss = sft(logps_S, layout.lengths_S).nll
        return Share(loss=loss, losses_B=-logps_S.detach(), sums_M=loss.detach()[None])


class Preference:
    """The mean loss of a pair."""

    metrics = (
        "loss", "accuracy", "margin", "chosen_reward", "rejected_reward", "chosen_logps", "rejected_logps",
    )  # fmt: skip

    def __init__(self, loss: Loss, reference_N2: np.ndarray | None) -> None:
        """Takes the loss, and log πref of each pair where it needs that; shape (N, 2)."""
        self._loss = loss
        self._reference_N2 = None if reference_N2 is None else torch.from_numpy(reference_N2)

    def weight(self, layout: Layout) -> float:
        """Returns the pairs."""
        return float(len(layout.prompt_ids))

    def share(self, layout: Layout, logps_R: torch.Tensor, numbers: np.ndarray) -> Share:
        """See `Objective`."""
        outcome = preference_loss(self._loss, self._pairs(layout, logps_R, numbers))
        policy_B2 = layout.sums(logps_R.detach()).view(-1, 2)
        margins_B = outcome.chosen_rewards_B - outcome.rejected_rewards_B
        rows = (
            outcome.losses_B.detach(), (margins_B > 0).to(margins_B), margins_B, outcome.chosen_rewards_B,
            outcome.rejected_rewards_B, policy_B2[:, 0], policy_B2[:, 1],
        )  # fmt: skip
        return Share(
            loss=outcome.losses_B.sum(), losses_B=outcome.losses_B.detach(), sums_M=torch.stack(rows).sum(dim=1)
        )

    def _pairs(self, layout: Layout, logps_R: torch.Tensor, numbers: np.ndarray) -> PairLogps:
        policy_B2 = layout.sums(logps_R).view(-1, 2)
        # With SamPO the tokens that are summed are a draw; its lengths are of what was drawn from.
        drawn = self._loss.kind == "sampo"
        tokens_B2 = (layout.whole_lengths() if drawn else layout.lengths_S).view(-1, 2)
        reference_B2 = None
        if self._reference_N2 is not None:
            reference_B2 = self._reference_N2[torch.from_numpy(numbers)].to(logps_R.device)
        return PairLogps(
            policy_chosen_B=policy_B2[:, 0],
            policy_rejected_B=policy_B2[:, 1],
            chosen_tokens_B=tokens_B2[:, 0],
            rejected_tokens_B=tokens_B2[:, 1],
            reference_chosen_B=None if reference_B2 is None else reference_B2[:, 0],
            reference_rejected_B=None if reference_B2 is None else reference_B2[:, 1],
            policy_chosen_whole_B=layout.whole_sums(logps_R).view(-1, 2)[:, 0] if drawn else None,
        )


def objective(settings: Settings, reference_N2: np.ndarray | None) -> Objective:
    """Returns the objective of a run."""
    return Supervised() if settings.kind == "sft" else Preference(settings.loss, reference_N2)
