"""The losses: pure functions of log-probabilities, each with its equation.

Notation: x is the prompt, y_w the chosen and y_l the rejected response, |y| the number of a response's tokens, πθ the
policy, πref the reference, σ the logistic function. Logarithms are natural.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch.nn.functional import logsigmoid

from smtrain_native.runtime.pair_logps import PairLogps, PairOutcome
from smtrain_native.runtime.settings import Loss, LossKind


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSum:
    """A part of a mean over tokens: the parts of all micro-batches and processes are added, then divided.

    Attributes:
      nll: negative log-likelihood of the tokens, summed, nats; a scalar with gradient.
      tokens: how many they are; a scalar.
    """

    nll: torch.Tensor
    tokens: torch.Tensor


def sft(policy_logps_B: torch.Tensor, tokens_B: torch.Tensor) -> TokenSum:
    """Returns the sums whose quotient, over a whole optimizer step, is the loss of supervised tuning.

    Args:
      policy_logps_B: log πθ(y|x), summed over the tokens of each response; shape (B,).
      tokens_B: |y|; shape (B,).
    """
    wide_B = policy_logps_B if policy_logps_B.dtype == torch.float64 else policy_logps_B.float()
    return TokenSum(nll=-wide_B.sum(), tokens=tokens_B.sum())  # Σ −log πθ(y|x)  and  Σ |y|


def preference_loss(settings: Loss, pair: PairLogps) -> PairOutcome:
    """Returns the loss of each pair, computed in fp32, or in fp64 where that came in.

    With `sft_weight` α, −α · log πθ(y_w|x) / |y_w| is added to whatever the kind is: Pang et al. 2024 (Iterative
    Reasoning Preference Optimization, arXiv 2404.19733) do so to DPO, which else lowers the chosen response's
    likelihood along with the rejected one's.

    Raises:
      ValueError: the kind compares no pairs, or needs a reference that is not there.
    """
    kind = _PREFERENCE.get(settings.kind)
    if kind is None:
        message = f"loss.kind: `{settings.kind}` compares no pairs; the losses that do are {', '.join(_PREFERENCE)}."
        raise ValueError(message)
    if kind.needs_reference and (pair.reference_chosen_B is None or pair.reference_rejected_B is None):
        message = f"loss.kind: `{settings.kind}` needs the reference's log-probabilities; the pairs came without."
        raise ValueError(message)
    wide = pair.widened()
    outcome = kind.function(wide, settings)
    if not settings.sft_weight:
        return outcome
    return PairOutcome(
        losses_B=outcome.losses_B + settings.sft_weight * _chosen_nll_per_token(wide),
        chosen_rewards_B=outcome.chosen_rewards_B,
        rejected_rewards_B=outcome.rejected_rewards_B,
    )


def needs_reference(kind: LossKind) -> bool:
    """Returns whether a loss compares the policy with a reference."""
    return kind in _PREFERENCE and _PREFERENCE[kind].needs_reference


def dpo(pair: PairLogps, settings: Loss) -> PairOutcome:
    """Returns the DPO loss.

    Source: Rafailov et al. 2023, Direct Preference Optimization, arXiv 2305.18290, eq. 7.
    """
    chosen_B, rejected_B = _log_ratios(pair)
    # −log σ( β log πθ(y_w|x)/πref(y_w|x) − β log πθ(y_l|x)/πref(y_l|x) )
    losses_B = -logsigmoid(settings.beta * (chosen_B - rejected_B))
    return _outcome(losses_B, chosen_B, rejected_B, settings)


def cdpo(pair: PairLogps, settings: Loss) -> PairOutcome:
    """Returns the conservative DPO loss: DPO where each label is wrong with probability ε = `label_smoothing`.

    Source: Mitchell 2023, A note on DPO with noisy preferences & relationship to IPO.
    """
    chosen_B, rejected_B = _log_ratios(pair)
    logits_B = settings.beta * (chosen_B - rejected_B)
    # −(1 − ε) log σ(β h) − ε log σ(−β h), h the difference of the log-ratios as in DPO
    smoothing = settings.label_smoothing
    losses_B = -(1 - smoothing) * logsigmoid(logits_B) - smoothing * logsigmoid(-logits_B)
    return _outcome(losses_B, chosen_B, rejected_B, settings)


def hinge(pair: PairLogps, settings: Loss) -> PairOutcome:
    """Returns the hinge loss on DPO's margin, the support vector machine to DPO's logistic regression.

    Source: Liu et al. 2023, Statistical Rejection Sampling Improves Preference Optimization (RSO), arXiv 2309.06657,
    there "hinge-norm"; after Zhao et al. 2023, SLiC-HF, arXiv 2305.10425, which has no reference in it.
    """
    chosen_B, rejected_B = _log_ratios(pair)
    # max(0, 1 − β h)
    losses_B = torch.relu(1 - settings.beta * (chosen_B - rejected_B))
    return _outcome(losses_B, chosen_B, rejected_B, settings)


def ipo(pair: PairLogps, settings: Loss) -> PairOutcome:
    """Returns the IPO loss, with log-ratios per token.

    The paper's eq. 17 has log-ratios of whole responses. Its authors trained with means over the tokens, as TRL's
    maintainers learnt from them (comment in TRL's DPOTrainer), and so do TRL and LLaMA-Factory.

    Source: Azar et al. 2023, A General Theoretical Paradigm to Understand Learning from Human Preferences, arXiv
    2310.12036, eq. 17; τ there is β here.
    """
    chosen_B, rejected_B = _per_token(pair, *_log_ratios(pair))
    # ( h − 1/(2τ) )²
    losses_B = (chosen_B - rejected_B - 1 / (2 * settings.beta)).square()
    return _outcome(losses_B, chosen_B, rejected_B, settings)


def ln_dpo(pair: PairLogps, settings: Loss) -> PairOutcome:
    """Returns the length-normalised DPO loss.

    Source: Lambert et al. 2024, Tülu 3, arXiv 2411.15124, section on preference tuning.
    """
    chosen_B, rejected_B = _per_token(pair, *_log_ratios(pair))
    # −log σ( β/|y_w| log πθ(y_w|x)/πref(y_w|x) − β/|y_l| log πθ(y_l|x)/πref(y_l|x) )
    losses_B = -logsigmoid(settings.beta * (chosen_B - rejected_B))
    return _outcome(losses_B, chosen_B, rejected_B, settings)


def simpo(pair: PairLogps, settings: Loss) -> PairOutcome:
    """Returns the SimPO loss. The paper's γ is `beta * gamma` here.

    Source: Meng et al. 2024, SimPO: Simple Preference Optimization with a Reference-Free Reward, arXiv 2405.14734,
    eq. 6.
    """
    chosen_B, rejected_B = _per_token(pair, pair.policy_chosen_B, pair.policy_rejected_B)
    # −log σ( β/|y_w| log πθ(y_w|x) − β/|y_l| log πθ(y_l|x) − γ )
    losses_B = -logsigmoid(settings.beta * (chosen_B - rejected_B - settings.gamma))
    return _outcome(losses_B, chosen_B, rejected_B, settings)


def sampo(pair: PairLogps, settings: Loss) -> PairOutcome:
    """Returns the SamPO loss: DPO's, on sums over as many tokens of one response as of the other.

    Policy and reference have summed over the tokens that `sampled_tokens.positions` chose.

    Source: Lu et al. 2024, Eliminating Biased Length Reliance of Direct Preference Optimization via Down-Sampled KL
    Divergence, arXiv 2406.10957.
    """
    # −log σ( β Σ_{t∈S_w} log πθ(t)/πref(t) − β Σ_{t∈S_l} log πθ(t)/πref(t) ),  |S_w| = |S_l| = min(|y_w|, |y_l|)
    return dpo(pair, settings)


def orpo(pair: PairLogps, settings: Loss) -> PairOutcome:
    """Returns the ORPO loss, supervised tuning included. The paper's λ is `beta` here.

    Both of its terms are over the response, as the paper writes them; TRL's trainer counts the prompt's tokens into
    the first.

    Source: Hong et al. 2024, ORPO: Monolithic Preference Optimization without Reference Model, arXiv 2403.07691,
    eqs. 4, 6 and 7.
    """
    chosen_B, rejected_B = _per_token(pair, pair.policy_chosen_B, pair.policy_rejected_B)
    # log OR = log odds(y_w|x) − log odds(y_l|x),  odds(y|x) = P(y|x) / (1 − P(y|x)),  P the mean over tokens (eq. 4)
    log_odds_ratio_B = _log_odds(chosen_B) - _log_odds(rejected_B)
    # L_SFT + λ · L_OR (eq. 6),  L_OR = −log σ(log OR) (eq. 7)
    losses_B = -chosen_B - settings.beta * logsigmoid(log_odds_ratio_B)
    return _outcome(losses_B, chosen_B, rejected_B, settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Preference:
    function: Callable[[PairLogps, Loss], PairOutcome]
    needs_reference: bool


_PREFERENCE: Mapping[LossKind, _Preference] = {
    "dpo": _Preference(function=dpo, needs_reference=True),
    "ipo": _Preference(function=ipo, needs_reference=True),
    "hinge": _Preference(function=hinge, needs_reference=True),
    "cdpo": _Preference(function=cdpo, needs_reference=True),
    "ln_dpo": _Preference(function=ln_dpo, needs_reference=True),
    "simpo": _Preference(function=simpo, needs_reference=False),
    "sampo": _Preference(function=sampo, needs_reference=True),
    "orpo": _Preference(function=orpo, needs_reference=False),
}


def _outcome(losses_B: torch.Tensor, chosen_B: torch.Tensor, rejected_B: torch.Tensor, settings: Loss) -> PairOutcome:
    return PairOutcome(
        losses_B=losses_B,
        chosen_rewards_B=settings.beta * chosen_B.detach(),
        rejected_rewards_B=settings.beta * rejected_B.detach(),
    )


def _log_ratios(pair: PairLogps) -> tuple[torch.Tensor, torch.Tensor]:
    # log πθ(y|x) − log πref(y|x)
    return pair.policy_chosen_B - pair.reference_chosen_B, pair.policy_rejected_B - pair.reference_rejected_B


def _per_token(pair: PairLogps, chosen_B: torch.Tensor, rejected_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    # A response without tokens has the sum 0; so is its mean.
    return chosen_B / pair.chosen_tokens_B.clamp(min=1), rejected_B / pair.rejected_tokens_B.clamp(min=1)


def _chosen_nll_per_token(pair: PairLogps) -> torch.Tensor:
    whole_B = pair.policy_chosen_B if pair.policy_chosen_whole_B is None else pair.policy_chosen_whole_B
    return -whole_B / pair.chosen_tokens_B.clamp(min=1)


def _log_odds(logps_B: torch.Tensor) -> torch.Tensor:
    """Returns log(p / (1 − p)) of log p ≤ 0.

    Rounding may give log p = 0, whose odds are infinite: the smallest step below stands for it.
    """
    below_B = logps_B.clamp(max=-torch.finfo(logps_B.dtype).eps)
    return below_B - _log1mexp(below_B)


def _log1mexp(values_B: torch.Tensor) -> torch.Tensor:
    """Returns log(1 − exp(a)) of a < 0.

    Source: Mächler 2012, Accurately Computing log(1 − exp(−|a|)), eq. 7.
    """
    near_B = torch.log(-torch.expm1(values_B))
    far_B = torch.log1p(-torch.exp(values_B))
    return torch.where(values_B > -math.log(2), near_B, far_B)
