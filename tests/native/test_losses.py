"""The losses against values worked out by hand, and against the papers' formulas written once more in plain floats."""

from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from smtrain_native.runtime import losses, sampled_tokens
from smtrain_native.runtime.pair_logps import PairLogps
from smtrain_native.runtime.settings import Loss, LossKind

PLUGINS = Path(__file__).parents[2] / "plugins"
PREFERENCE: tuple[LossKind, ...] = ("dpo", "ipo", "hinge", "cdpo", "ln_dpo", "simpo", "sampo", "orpo")


def pairs(
    policy: list[tuple[float, float]],
    reference: list[tuple[float, float]] | None,
    tokens: list[tuple[int, int]],
    *,
    dtype: torch.dtype = torch.float64,
    whole: list[float] | None = None,
) -> PairLogps:
    """Returns pairs, each given as (chosen, rejected)."""

    def column(rows: list[tuple[float, float]] | None, which: int) -> torch.Tensor | None:
        return None if rows is None else torch.tensor([row[which] for row in rows], dtype=dtype)

    return PairLogps(
        policy_chosen_B=column(policy, 0),
        policy_rejected_B=column(policy, 1),
        chosen_tokens_B=torch.tensor([row[0] for row in tokens]),
        rejected_tokens_B=torch.tensor([row[1] for row in tokens]),
        reference_chosen_B=column(reference, 0),
        reference_rejected_B=column(reference, 1),
        policy_chosen_whole_B=None if whole is None else torch.tensor(whole, dtype=dtype),
    )


# One pair: log-ratios −10 + 12 = 2 and −20 + 19 = −1; per token 2/4 = 0.5 and −1/5 = −0.2.
ONE = pairs([(-10.0, -20.0)], [(-12.0, -19.0)], [(4, 5)])


def loss_of(pair: PairLogps, kind: LossKind, **settings: float) -> list[float]:
    return losses.preference_loss(Loss(kind=kind, **settings), pair).losses_B.tolist()


# ------------------------------------------------------------------------------------------------------- by hand


def test_dpo_by_hand() -> None:
    # −log σ(0.5 · (2 − (−1))) = log(1 + e^−1.5) = log(1.22313016) = 0.20141328
    assert loss_of(ONE, "dpo", beta=0.5) == pytest.approx([0.20141328], abs=1e-8)


def test_equal_policy_and_reference_give_log_two() -> None:
    same = pairs([(-3.0, -7.0)], [(-3.0, -7.0)], [(3, 4)])
    for kind in ("dpo", "cdpo", "ln_dpo", "sampo"):
        assert loss_of(same, kind, beta=0.1, label_smoothing=0.2) == pytest.approx([math.log(2)], abs=1e-12)


def test_cdpo_by_hand() -> None:
    # 0.9 · log(1 + e^−1.5) + 0.1 · log(1 + e^1.5) = 0.9 · 0.20141328 + 0.1 · 1.70141328 = 0.35141328
    assert loss_of(ONE, "cdpo", beta=0.5, label_smoothing=0.1) == pytest.approx([0.35141328], abs=1e-8)


def test_hinge_by_hand() -> None:
    # max(0, 1 − 0.2 · 3) = 0.4; with β = 0.5, 1 − 1.5 < 0
    assert loss_of(ONE, "hinge", beta=0.2) == pytest.approx([0.4])
    assert loss_of(ONE, "hinge", beta=0.5) == [0.0]


def test_ipo_by_hand() -> None:
    # (0.5 − (−0.2) − 1/(2 · 0.5))² = (0.7 − 1)² = 0.09
    assert loss_of(ONE, "ipo", beta=0.5) == pytest.approx([0.09])


def test_ln_dpo_by_hand() -> None:
    # log(1 + e^(−2 · 0.7)) = log(1 + 0.24659696) = 0.22041741
    assert loss_of(ONE, "ln_dpo", beta=2.0) == pytest.approx([0.22041741], abs=1e-8)


def test_simpo_by_hand() -> None:
    # means −10/4 = −2.5 and −20/5 = −4; 2 · (−2.5 + 4 − 0.5) = 2; log(1 + e^−2) = 0.12692801
    assert loss_of(ONE, "simpo", beta=2.0, gamma=0.5) == pytest.approx([0.12692801], abs=1e-8)


def test_orpo_by_hand() -> None:
    # P_w = 1/2, odds 1; P_l = 1/5, odds 1/4: log OR = log 4, σ = 4/5, −log σ = log 1.25.
    # −log P_w + 0.1 · log 1.25 = 0.69314718 + 0.02231436 = 0.71546154
    pair = pairs([(3 * math.log(0.5), 2 * math.log(0.2))], None, [(3, 2)])
    assert loss_of(pair, "orpo", beta=0.1) == pytest.approx([0.71546154], abs=1e-8)


def test_sft_gives_sums_that_a_whole_step_divides() -> None:
    # Micro-batches of 5 and 1 tokens: (6 + 3) / 6 = 1.5, where the mean of their means would be 2.1.
    parts = [
        losses.sft(torch.tensor([-4.0, -2.0]), torch.tensor([2, 3])),
        losses.sft(torch.tensor([-3.0]), torch.tensor([1])),
    ]
    assert sum(part.nll.item() for part in parts) / sum(part.tokens.item() for part in parts) == 1.5


@pytest.mark.parametrize("kind", PREFERENCE)
def test_sft_weight_adds_the_chosen_responses_loss_per_token(kind: LossKind) -> None:
    # 0.2 · 10/4 = 0.5
    without, with_weight = loss_of(ONE, kind), loss_of(ONE, kind, sft_weight=0.2)
    assert with_weight == pytest.approx([without[0] + 0.5])


def test_sft_weight_counts_the_whole_response_where_sampo_counts_a_part() -> None:
    # The sample of the chosen response has −10, the whole of its 4 tokens −14: 0.2 · 14/4 = 0.7
    pair = pairs([(-10.0, -20.0)], [(-12.0, -19.0)], [(4, 2)], whole=[-14.0])
    assert loss_of(pair, "sampo", sft_weight=0.2) == pytest.approx([loss_of(pair, "sampo")[0] + 0.7])


def test_rewards_are_what_the_loss_compares_times_beta() -> None:
    expected = {
        **dict.fromkeys(("dpo", "cdpo", "hinge", "sampo"), (1.0, -0.5)),  # 0.5 · 2 and 0.5 · −1
        **dict.fromkeys(("ln_dpo", "ipo"), (0.25, -0.1)),  # 0.5 · 0.5 and 0.5 · −0.2
        **dict.fromkeys(("simpo", "orpo"), (-1.25, -2.0)),  # 0.5 · −2.5 and 0.5 · −4
    }
    for kind in PREFERENCE:
        found = losses.preference_loss(Loss(kind=kind, beta=0.5), ONE)
        assert (found.chosen_rewards_B.item(), found.rejected_rewards_B.item()) == pytest.approx(expected[kind]), kind


# ----------------------------------------------------------------------------------------- the formulas once more


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def formula(kind: str, row: tuple[float, float, float, float, int, int], settings: Loss) -> float:
    """Returns the loss as the papers write it, with probabilities instead of their logarithms where they do so."""
    policy_w, policy_l, reference_w, reference_l, tokens_w, tokens_l = row
    ratio_w, ratio_l = policy_w - reference_w, policy_l - reference_l
    beta, smoothing = settings.beta, settings.label_smoothing
    chance_w, chance_l = math.exp(policy_w / tokens_w), math.exp(policy_l / tokens_l)
    odds_ratio = (chance_w / (1 - chance_w)) / (chance_l / (1 - chance_l))
    preferred = sigmoid(beta * (ratio_w - ratio_l))
    values = {
        "dpo": -math.log(preferred),
        "sampo": -math.log(preferred),
        "cdpo": -(1 - smoothing) * math.log(preferred) - smoothing * math.log(1 - preferred),
        "hinge": max(0.0, 1 - beta * (ratio_w - ratio_l)),
        "ipo": (ratio_w / tokens_w - ratio_l / tokens_l - 1 / (2 * beta)) ** 2,
        "ln_dpo": -math.log(sigmoid(beta / tokens_w * ratio_w - beta / tokens_l * ratio_l)),
        "simpo": -math.log(sigmoid(beta / tokens_w * policy_w - beta / tokens_l * policy_l - beta * settings.gamma)),
        "orpo": -math.log(chance_w) + beta * -math.log(odds_ratio / (1 + odds_ratio)),
    }
    return values[kind]


LOGPS = st.floats(-60, -0.5)
ROWS = st.lists(st.tuples(LOGPS, LOGPS, LOGPS, LOGPS, st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=5)


def of_rows(rows: list[tuple[float, float, float, float, int, int]], dtype: torch.dtype = torch.float64) -> PairLogps:
    return pairs([row[:2] for row in rows], [row[2:4] for row in rows], [row[4:] for row in rows], dtype=dtype)


@pytest.mark.parametrize("kind", PREFERENCE)
@given(rows=ROWS, beta=st.floats(0.01, 0.3), smoothing=st.floats(0, 0.5), gamma=st.floats(0, 2))
def test_every_loss_equals_its_formula(
    kind: LossKind, rows: list[tuple[float, float, float, float, int, int]], beta: float, smoothing: float, gamma: float
) -> None:
    settings = Loss(kind=kind, beta=beta, label_smoothing=smoothing, gamma=gamma)
    expected = [formula(kind, row, settings) for row in rows]
    found = losses.preference_loss(settings, of_rows(rows)).losses_B
    assert found.tolist() == pytest.approx(expected, rel=1e-6, abs=1e-9)
    in_fp32 = losses.preference_loss(settings, of_rows(rows, torch.float32)).losses_B
    assert in_fp32.tolist() == pytest.approx(expected, rel=2e-4, abs=2e-5)


@pytest.mark.parametrize("kind", PREFERENCE)
def test_gradients_are_those_of_finite_differences(kind: LossKind) -> None:
    settings = Loss(kind=kind, beta=0.3, label_smoothing=0.1, gamma=0.4, sft_weight=0.2)
    base = pairs([(-6.0, -9.0), (-2.5, -1.0)], [(-7.0, -8.0), (-2.0, -2.0)], [(3, 7), (5, 2)])

    def loss(chosen_b: torch.Tensor, rejected_b: torch.Tensor) -> torch.Tensor:
        pair = dataclasses.replace(base, policy_chosen_B=chosen_b, policy_rejected_B=rejected_b)
        return losses.preference_loss(settings, pair).losses_B

    inputs = (base.policy_chosen_B.clone().requires_grad_(), base.policy_rejected_B.clone().requires_grad_())
    assert torch.autograd.gradcheck(loss, inputs)


# ------------------------------------------------------------------------------------------------------ properties


def swapped(pair: PairLogps) -> PairLogps:
    return PairLogps(
        policy_chosen_B=pair.policy_rejected_B,
        policy_rejected_B=pair.policy_chosen_B,
        chosen_tokens_B=pair.rejected_tokens_B,
        rejected_tokens_B=pair.chosen_tokens_B,
        reference_chosen_B=pair.reference_rejected_B,
        reference_rejected_B=pair.reference_chosen_B,
    )


@pytest.mark.parametrize("kind", PREFERENCE)
@given(rows=ROWS)
def test_swapping_chosen_and_rejected_flips_the_margin(
    kind: LossKind, rows: list[tuple[float, float, float, float, int, int]]
) -> None:
    there = losses.preference_loss(Loss(kind=kind), of_rows(rows))
    back = losses.preference_loss(Loss(kind=kind), swapped(of_rows(rows)))
    margin_b = there.chosen_rewards_B - there.rejected_rewards_B
    assert torch.equal(margin_b, -(back.chosen_rewards_B - back.rejected_rewards_B))


@given(rows=ROWS, beta=st.floats(0.01, 2))
def test_cdpo_without_smoothing_is_dpo(rows: list[tuple[float, float, float, float, int, int]], beta: float) -> None:
    assert loss_of(of_rows(rows), "cdpo", beta=beta, label_smoothing=0.0) == loss_of(of_rows(rows), "dpo", beta=beta)


@pytest.mark.parametrize("kind", ["dpo", "cdpo", "hinge", "ln_dpo", "sampo"])
@given(rows=ROWS, scale=st.sampled_from((0.25, 0.5, 2.0, 8.0)))
def test_beta_scales_log_ratios(
    kind: LossKind, rows: list[tuple[float, float, float, float, int, int]], scale: float
) -> None:
    scaled = [(*(scale * value for value in row[:4]), *row[4:]) for row in rows]
    assert loss_of(of_rows(rows), kind, beta=0.1 * scale) == pytest.approx(loss_of(of_rows(scaled), kind, beta=0.1))


@pytest.mark.parametrize("kind", ["simpo", "orpo"])
def test_losses_without_reference_do_not_look_at_one(kind: LossKind) -> None:
    bare = dataclasses.replace(ONE, reference_chosen_B=None, reference_rejected_B=None)
    nonsense = dataclasses.replace(ONE, reference_chosen_B=torch.full((1,), math.nan, dtype=torch.float64))
    assert loss_of(bare, kind) == loss_of(ONE, kind) == loss_of(nonsense, kind)
    assert not losses.needs_reference(kind)


@pytest.mark.parametrize("kind", ["dpo", "ipo", "hinge", "cdpo", "ln_dpo", "sampo"])
def test_losses_with_reference_say_so_and_refuse_pairs_without(kind: LossKind) -> None:
    assert losses.needs_reference(kind)
    with pytest.raises(ValueError, match=rf"loss.kind: `{kind}` needs the reference"):
        losses.preference_loss(Loss(kind=kind), dataclasses.replace(ONE, reference_rejected_B=None))


def test_sft_compares_no_pairs() -> None:
    assert not losses.needs_reference("sft")
    with pytest.raises(ValueError, match="`sft` compares no pairs; the losses that do are dpo, "):
        losses.preference_loss(Loss(kind="sft"), ONE)


@pytest.mark.parametrize("kind", ["ln_dpo", "ipo", "simpo", "orpo"])
def test_a_response_repeated_changes_nothing_where_length_is_normalised(kind: LossKind) -> None:
    twice = pairs([(-20.0, -20.0)], [(-24.0, -19.0)], [(8, 5)])
    assert loss_of(twice, kind) == pytest.approx(loss_of(ONE, kind))
    assert loss_of(twice, "dpo") != pytest.approx(loss_of(ONE, "dpo"))


@pytest.mark.parametrize("kind", PREFERENCE)
@pytest.mark.parametrize("beta", [0.01, 0.1, 10.0])
def test_extremes_have_finite_losses_and_gradients_in_fp32(kind: LossKind, beta: float) -> None:
    """Margins of ±10,000, probabilities of exactly 1 (and, by rounding, above), responses without a token."""
    policy = [
        (-1e4, -1e-3),
        (-1e-3, -1e4),
        (0.0, 0.0),
        (-1e-9, -1e4),
        (-1e4, 0.0),
        (1e-6, -5.0),
        (-5.0, 1e-6),
        (0.0, -1),
    ]
    tokens = [(1, 1), (1, 1), (1, 9), (3, 1), (1, 3), (1, 1), (1, 1), (0, 1)]
    pair = pairs(policy, [(-1.0, -1.0)] * len(policy), tokens, dtype=torch.float32)
    pair.policy_chosen_B.requires_grad_()
    pair.policy_rejected_B.requires_grad_()
    settings = Loss(kind=kind, beta=beta, label_smoothing=0.1, gamma=0.5, sft_weight=1.0)
    found = losses.preference_loss(settings, pair)
    found.losses_B.sum().backward()
    for tensor in (found.losses_B, found.chosen_rewards_B, pair.policy_chosen_B.grad, pair.policy_rejected_B.grad):
        assert torch.isfinite(tensor).all()


def test_what_is_not_finite_stays_so_instead_of_passing_for_a_loss() -> None:
    pair = pairs([(math.nan, -1.0), (-1.0, -1.0)], [(-1.0, -1.0)] * 2, [(1, 1)] * 2)
    for kind in PREFERENCE:
        assert torch.isfinite(losses.preference_loss(Loss(kind=kind), pair).losses_B).tolist() == [False, True], kind


def test_log_odds_near_certainty_keep_their_digits() -> None:
    # log P = −10⁻⁵: odds = 1 / (e^(10⁻⁵) − 1) ≈ 10⁵ − 0.5, log 11.51292; 1 − P in fp32 would have lost two digits.
    # log P = −ln 2 gives odds 1. L = 10⁻⁵ + log(1 + 1/odds ratio).
    pair = pairs([(-1e-5, -math.log(2))], None, [(1, 1)], dtype=torch.float32)
    expected = 1e-5 + math.log1p(1 / (1 / math.expm1(1e-5)))
    assert loss_of(pair, "orpo", beta=1.0) == pytest.approx([expected], rel=1e-5)


def test_half_precision_is_widened() -> None:
    # Log-ratios 64 and 0.125: their difference, 63.875, has nine digits in base two, one more than bf16.
    pair = pairs([(-64.0, -1.0)], [(-128.0, -1.125)], [(9, 9)], dtype=torch.bfloat16)
    found = losses.preference_loss(Loss(kind="dpo", beta=0.01), pair).losses_B
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx([math.log1p(math.exp(-0.63875))], rel=1e-6)
    assert losses.sft(torch.tensor([-1.0]).bfloat16(), torch.tensor([1])).nll.dtype == torch.float32


def test_rewards_carry_no_gradient() -> None:
    pair = pairs([(-1.0, -2.0)], [(-1.0, -2.0)], [(1, 1)])
    pair.policy_chosen_B.requires_grad_()
    for kind in PREFERENCE:
        found = losses.preference_loss(Loss(kind=kind), pair)
        assert found.losses_B.requires_grad
        assert not found.chosen_rewards_B.requires_grad


# ------------------------------------------------------------------------------------------------- SamPO's tokens


@given(prompt_id=st.text(), seed=st.integers(), chosen=st.integers(0, 60), rejected=st.integers(0, 60))
def test_sampo_counts_as_many_tokens_of_both_and_the_shorter_whole(
    prompt_id: str, seed: int, chosen: int, rejected: int
) -> None:
    counted_w, counted_l = sampled_tokens.positions(prompt_id, seed, chosen_tokens=chosen, rejected_tokens=rejected)
    for counted, tokens in ((counted_w, chosen), (counted_l, rejected)):
        assert len(counted) == min(chosen, rejected)
        assert (np.diff(counted) > 0).all(), "ascending, none twice"
        assert not len(counted) or 0 <= counted[0] <= counted[-1] < tokens
        if tokens == len(counted):
            assert counted.tolist() == list(range(tokens))


def test_sampo_draws_each_position_equally_often() -> None:
    # 4,000 draws of 3 from 12: each position 1,000 times, standard deviation √(4000 · ¼ · ¾) = 27
    draws = [sampled_tokens.positions(f"p{n}", 7, chosen_tokens=12, rejected_tokens=3)[0] for n in range(4000)]
    counts = np.bincount(np.concatenate(draws), minlength=12)
    assert (abs(counts - 1000) < 5 * 27).all()


def test_sampo_draws_anew_for_another_seed_and_another_prompt() -> None:
    def draw(prompt_id: str, seed: int) -> list[int]:
        return sampled_tokens.positions(prompt_id, seed, chosen_tokens=400, rejected_tokens=40)[0].tolist()

    assert draw("a", 1) == draw("a", 1)
    assert draw("a", 1) != draw("a", 2)
    assert draw("a", 1) != draw("b", 1)
    assert draw("1", 1) != draw("", 11)
    assert draw("\ud800 lone surrogate", 1)


def test_sampo_draws_the_same_in_every_process() -> None:
    """Neither the process's hash seed nor NumPy's state counts: these are the positions for good."""
    code = (
        "import numpy; numpy.random.seed(3)\n"
        "from smtrain_native.runtime.sampled_tokens import positions\n"
        "print(positions('prompt-1', 42, chosen_tokens=20, rejected_tokens=5)[0].tolist())"
    )
    found = {
        subprocess.run(
            (sys.executable, "-c", code),
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(PLUGINS)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("0", "1", "4242")
    }
    assert found == {"[2, 8, 10, 11, 12]"}
