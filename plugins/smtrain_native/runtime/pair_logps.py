"""What a preference loss is computed from, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class PairLogps:
    """Log-probabilities of B pairs of responses, in nats; each tensor has the shape (B,).

    Attributes:
      policy_chosen_B: log πθ(y_w|x), summed over the tokens of the chosen response.
      policy_rejected_B: log πθ(y_l|x), of the rejected one.
      chosen_tokens_B: |y_w|, tokens of the chosen response, whole.
      rejected_tokens_B: |y_l|.
      reference_chosen_B: log πref(y_w|x), over the very tokens of `policy_chosen_B`.
      reference_rejected_B: log πref(y_l|x).
      policy_chosen_whole_B: log πθ(y_w|x) over the whole response where `policy_chosen_B` covers a sample of it
        (sampo); None says that `policy_chosen_B` is over the whole.
    """

    policy_chosen_B: torch.Tensor
    policy_rejected_B: torch.Tensor
    chosen_tokens_B: torch.Tensor
    rejected_tokens_B: torch.Tensor
    reference_chosen_B: torch.Tensor | None = None
    reference_rejected_B: torch.Tensor | None = None
    policy_chosen_whole_B: torch.Tensor | None = None

    def widened(self) -> Self:
        """Returns the same in fp32: sums of hundreds of tokens have no digits left in sixteen bits."""
        return type(self)(**{field.name: _wide(getattr(self, field.name)) for field in fields(self)})


@dataclass(frozen=True, slots=True, kw_only=True)
class PairOutcome:
    """The loss of B pairs; each tensor has the shape (B,).

    Attributes:
      losses_B: to be averaged over the pairs of an optimizer step.
      chosen_rewards_B: the reward that the loss implies for the chosen response; without gradient.
      rejected_rewards_B: for the rejected one. The loss falls as the difference of the two rises.
    """

    losses_B: torch.Tensor
    chosen_rewards_B: torch.Tensor
    rejected_rewards_B: torch.Tensor


def _wide(tensor: torch.Tensor | None) -> torch.Tensor | None:
    return tensor if tensor is None or tensor.dtype == torch.float64 else tensor.float()
