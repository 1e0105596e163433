"""Log-probabilities of given tokens from hidden states, without the logits of a batch.

The vocabulary's scores are computed for a few hundred tokens at a time, in the forward and again in the backward pass:
the technique of Cut Cross-Entropy (Wijmans et al. 2024, arXiv 2411.09009) and of Liger Kernel's fused linear
cross-entropy (Hsu et al. 2024, arXiv 2410.10989), in plain matrix products.

With a frozen head nothing is computed twice: the gradient of log p(y) with respect to the hidden state,
w_y - Σ p(v) w_v, is as small as the hidden state itself and is kept instead. Where the scores are as few as are held at
a time anyway, they are kept too.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from smtrain_native.runtime import lean

CHUNK_BYTES = 64 * 2**20
"""Scores held at a time, in fp32, on a CPU."""

GPU_CHUNK_BYTES = 256 * 2**20
"""On a GPU, which reads the head from memory, and adds to its gradient, once for each part: of a vocabulary of 152,000
these are 440 tokens, so that a product takes longer than reading its operands (from some 300 operations a byte on).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What a model does to its scores after the head.

    Attributes:
      scale: they are multiplied by it.
      softcap: they become softcap · tanh(score / softcap); None leaves them.
    """

    scale: float = 1.0
    softcap: float | None = None


class LogprobHead(nn.Linear):
    """A language model's head that returns log-probabilities of given tokens.

    A module of its own, so that whatever gathers sharded parameters around a forward pass (ZeRO-3) gathers the head's.
    """

    def __init__(self, head: nn.Linear, scores: Scores) -> None:
        """Takes over a head's parameters, which may be tied to the embedding's.

        Args:
          head: the model's.
          scores: what the model does to its scores.
        """
        nn.Module.__init__(self)
        self.in_features, self.out_features = head.in_features, head.out_features
        self.weight, self.bias = head.weight, head.bias
        self.scores = scores

    def forward(self, hidden_RD: torch.Tensor, targets_R: torch.Tensor | None = None) -> torch.Tensor:
        """Returns log p(target), shape (R,), in fp32; without targets the scores, as the head that it replaces."""
        if targets_R is None:
            return super().forward(hidden_RD)
        logps_R: torch.Tensor = _Logprobs.apply(hidden_RD, self.weight, self.bias, targets_R, self.scores)
        return logps_R


class _Keeps(enum.Enum):
    """What the forward pass keeps for the backward one."""

    NOTHING = "nothing"  # nobody asks for a gradient
    HIDDEN = "hidden"  # hidden states; the scores are computed again
    SLOPES = "slopes"  # gradients with respect to the scores, which are few
    GRADIENT = "gradient"  # gradients with respect to the hidden states, of a frozen head


class _Logprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  # torch names no type
        hidden_RD: torch.Tensor,
        weight_VD: torch.Tensor,
        bias_V: torch.Tensor | None,
        targets_R: torch.Tensor,
        scores: Scores,
    ) -> torch.Tensor:
        computed_VD = weight_VD.to(hidden_RD.dtype)
        keeps = _keeps(hidden_RD, weight_VD, bias_V)
        sloped = keeps in (_Keeps.SLOPES, _Keeps.GRADIENT)
        logps, norms, kept = [hidden_RD.new_zeros(0, dtype=torch.float32)], [], []
        for hidden, targets in _chunks(computed_VD, hidden_RD, targets_R):
            scores_CV = _scores(hidden, computed_VD, bias_V, scores)
            bend = _bend(scores_CV, scores) if sloped else None
            logps_C, norm_C, sum_C = _exponentiate(scores_CV, targets)
            logps.append(logps_C)
            norms.append(norm_C)
            if sloped:
                slope_CV = _slope(scores_CV.mul_(sum_C.reciprocal()[:, None]), targets, bend).to(hidden.dtype)
                kept.append(slope_CV if keeps is _Keeps.SLOPES else lean.product(slope_CV, computed_VD.t()))
        ctx.scores, ctx.keeps = scores, keeps
        # Slopes are of one part, and not to be copied.
        held = (kept[0] if len(kept) == 1 else torch.cat(kept)) if kept else None
        norms_R = torch.cat(norms) if keeps is _Keeps.HIDDEN and norms else None
        # A hidden state that is not needed again must not be held on to.
        hidden = None if keeps is _Keeps.GRADIENT else hidden_RD
        ctx.save_for_backward(hidden, held, weight_VD, bias_V, targets_R, norms_R)
        return torch.cat(logps)

    @staticmethod
    def backward(ctx: Any, grad_R: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # noqa: ANN401
        hidden_RD, held, weight_VD, bias_V, targets_R, norms_R = ctx.saved_tensors
        if ctx.keeps is _Keeps.GRADIENT:
            return held * -grad_R[:, None].to(held.dtype), None, None, None, None
        computed_VD = weight_VD.to(hidden_RD.dtype)
        hidden_grads = [hidden_RD.new_zeros(0, hidden_RD.shape[1])]
        weight_grad_VD = torch.zeros_like(weight_VD, dtype=torch.float32)
        bias_grad_V = None if bias_V is None else torch.zeros_like(bias_V, dtype=torch.float32)
        again = held if ctx.keeps is _Keeps.SLOPES else norms_R
        for hidden, targets, grad_C, kept in _chunks(computed_VD, hidden_RD, targets_R, grad_R, again):
            slope_CV = kept
            if ctx.keeps is _Keeps.HIDDEN:
                scores_CV = _scores(hidden, computed_VD, bias_V, ctx.scores)
                bend = _bend(scores_CV, ctx.scores)
                slope_CV = _slope(scores_CV.sub_(kept[:, None]).exp_(), targets, bend)
            # In place: at no other time is as much held as now. Nobody goes back twice.
            d_CV = slope_CV.mul_(-grad_C[:, None]).to(hidden.dtype)
            hidden_grads.append(lean.product(d_CV, computed_VD.t()))
            _add_product(weight_grad_VD, d_CV, hidden)
            if bias_grad_V is not None:
                bias_grad_V += d_CV.sum(0)
        bias_grad = None if bias_V is None or bias_grad_V is None else bias_grad_V.to(bias_V.dtype)
        return torch.cat(hidden_grads), weight_grad_VD.to(weight_VD.dtype), bias_grad, None, None


def _keeps(hidden_RD: torch.Tensor, weight_VD: torch.Tensor, bias_V: torch.Tensor | None) -> _Keeps:
    trained = weight_VD.requires_grad or (bias_V is not None and bias_V.requires_grad)
    if not trained:
        return _Keeps.GRADIENT if hidden_RD.requires_grad and len(hidden_RD) else _Keeps.NOTHING
    few = hidden_RD.shape[0] * weight_VD.shape[0] * 4 <= _chunk_bytes(weight_VD)
    return _Keeps.SLOPES if few and len(hidden_RD) else _Keeps.HIDDEN


def _chunk_bytes(weight_VD: torch.Tensor) -> int:
    return CHUNK_BYTES if weight_VD.device.type == "cpu" else GPU_CHUNK_BYTES


def _chunks(weight_VD: torch.Tensor, *tensors: torch.Tensor) -> zip[tuple[torch.Tensor, ...]]:
    """Splits along the first dimension, so that a part's scores stay below `_chunk_bytes`."""
    rows = max(16, _chunk_bytes(weight_VD) // (4 * weight_VD.shape[0]))
    count = tensors[0].shape[0]
    parts = -(-count // rows)
    # Parts of equal size: a short one at the end would be a slow matrix product.
    even = -(-count // parts) if parts else 1
    return zip(*(tensor.split(even) if count else () for tensor in tensors), strict=True)


def _scores(
    hidden_CD: torch.Tensor, weight_VD: torch.Tensor, bias_V: torch.Tensor | None, scores: Scores
) -> torch.Tensor:
    bias = None if bias_V is None else bias_V.to(hidden_CD.dtype)
    scores_CV = lean.product(hidden_CD, weight_VD, bias).float()
    if scores.scale != 1.0:
        scores_CV *= scores.scale
    if scores.softcap is not None:
        scores_CV.div_(scores.softcap).tanh_().mul_(scores.softcap)
    return scores_CV


def _exponentiate(scores_CV: torch.Tensor, targets_C: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns log p(y), the log-sum-exp of the scores, and the sum of what replaces them: exp(score - the largest).

    In place: a second copy of the scores, fresh from the system, costs as much as computing with it.
    """
    picked_C, most_C = scores_CV.gather(1, targets_C[:, None]).squeeze(1), scores_CV.amax(dim=1)
    sum_C = scores_CV.sub_(most_C[:, None]).exp_().sum(dim=1)
    norm_C = most_C + sum_C.log()
    return picked_C - norm_C, norm_C, sum_C


def _bend(scores_CV: torch.Tensor, scores: Scores) -> torch.Tensor | float | None:
    """Returns ∂ score / ∂ head's output; None where it is 1."""
    if scores.softcap is None:
        return None if scores.scale == 1.0 else scores.scale
    return (1 - (scores_CV / scores.softcap).square()).mul_(scores.scale)


def _slope(probabilities_CV: torch.Tensor, targets_C: torch.Tensor, bend: torch.Tensor | float | None) -> torch.Tensor:
    """Returns ∂ (-log p(y)) / ∂ head's output = (p(v) - 1[v = y]) · ∂ score / ∂ output.

    Args:
      probabilities_CV: p; overwritten.
      targets_C: y.
      bend: ∂ score / ∂ output.
    """
    ones_C1 = probabilities_CV.new_ones(len(targets_C), 1)
    slope_CV = probabilities_CV.scatter_add_(1, targets_C[:, None], -ones_C1)
    return slope_CV if bend is None else slope_CV.mul_(bend)


def _add_product(sum_VD: torch.Tensor, d_CV: torch.Tensor, hidden_CD: torch.Tensor) -> None:
    if hidden_CD.dtype == sum_VD.dtype:
        sum_VD.addmm_(d_CV.t(), hidden_CD)
    else:
        sum_VD.add_(d_CV.t() @ hidden_CD)
