"""The learning rate over the steps, by hand and against transformers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from smtrain_native.runtime.schedule import factor, warmup_steps
from smtrain_native.runtime.settings import Optimizer, Schedule
from transformers import get_scheduler

SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)


def factors(
    total: int, schedule: Schedule, *, steps: int | None = None, warmup: float = 0, ratio: float = 0
) -> list[float]:
    settings = Optimizer(schedule=schedule, warmup=warmup, min_ratio=ratio)
    return [factor(step, total, settings) for step in range(total if steps is None else steps)]


def test_linear_by_hand() -> None:
    assert factors(6, "linear", warmup=2, steps=7) == pytest.approx([0, 0.5, 1, 0.75, 0.5, 0.25, 0])


def test_cosine_by_hand() -> None:
    # ½ (1 + cos 0°, 60°, 120°, 180°)
    assert factors(3, "cosine", steps=4) == pytest.approx([1, 0.75, 0.25, 0])


def test_inverse_sqrt_by_hand() -> None:
    # √(4/4), √(4/9), √(4/16)
    found = factors(100, "inverse_sqrt", warmup=4)
    assert found[:5] == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert (found[9], found[16]) == pytest.approx((2 / 3, 1 / 2))


def test_inverse_sqrt_without_warm_up_falls_over_ten_thousand_steps() -> None:
    # √(10000/40000)
    assert factor(30_000, 40_000, Optimizer(schedule="inverse_sqrt", warmup=0)) == pytest.approx(0.5)


def test_constant_by_hand() -> None:
    assert factors(6, "constant", warmup=2) == [0, 0.5, 1, 1, 1, 1]


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_min_ratio_is_where_it_ends(schedule: Schedule) -> None:
    # Half way the factor would be ½: 0.1 + 0.9 · ½
    found = factors(4, schedule, ratio=0.1, steps=9)
    assert found[2] == pytest.approx(0.55)
    assert found[4:] == pytest.approx([0.1] * 5)


@pytest.mark.parametrize(
    ("warmup", "total", "expected"),
    [
        (0.1, 100, 10),
        (0.101, 100, 11),  # rounded up
        (0, 100, 0),
        (0.999, 100, 99),  # the last update is not one of the warm-up
        (1, 100, 1),  # from 1 on, steps
        (30, 100, 30),
        (500, 100, 99),
        (0.1, 1, 0),
        (10, 1, 0),
        (0.5, 0, 0),
    ],
)
def test_warm_up_is_steps_or_a_share(warmup: float, total: int, expected: int) -> None:
    assert warmup_steps(total, Optimizer(warmup=warmup)) == expected


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [0.1, 1, 50])
def test_the_only_update_of_a_training_is_at_the_full_rate(schedule: Schedule, warmup: float) -> None:
    assert factors(1, schedule, warmup=warmup) == [1]


@given(
    schedule=st.sampled_from(SCHEDULES),
    warmup=st.floats(0, 200),
    ratio=st.floats(0, 1),
    total=st.integers(-1, 100),
    step=st.integers(-5, 400),
)
def test_every_factor_lies_between_nought_and_one(
    schedule: Schedule, warmup: float, ratio: float, total: int, step: int
) -> None:
    found = factor(step, total, Optimizer(schedule=schedule, warmup=warmup, min_ratio=ratio))
    assert math.isfinite(found)
    assert 0 <= found <= 1


@given(schedule=st.sampled_from(SCHEDULES), warmup=st.integers(0, 50), ratio=st.floats(0, 1), total=st.integers(2, 100))
def test_it_rises_to_the_full_rate_and_falls_from_there(
    schedule: Schedule, warmup: int, ratio: float, total: int
) -> None:
    found = factors(total, schedule, warmup=warmup, ratio=ratio, steps=total + 5)
    top = warmup_steps(total, Optimizer(warmup=warmup))
    assert found[top] == 1
    assert found[: top + 1] == sorted(found[: top + 1])
    # Rounding lets the last digit of a cosine rise.
    assert all(after <= before + 1e-15 for before, after in zip(found[top:], found[top + 1 :], strict=False))


# transformers' name → ours, and what both take besides
EQUAL: Mapping[str, tuple[Schedule, float]] = {
    "linear": ("linear", 0.0),
    "cosine": ("cosine", 0.0),
    "cosine_with_min_lr": ("cosine", 0.2),
    "inverse_sqrt": ("inverse_sqrt", 0.0),
    "constant_with_warmup": ("constant", 0.0),
}


@pytest.mark.parametrize("theirs", EQUAL)
@pytest.mark.parametrize(("warmup", "total"), [(0, 10), (3, 10), (9, 10), (0.1, 37), (1, 2)])
def test_the_rates_of_a_training_are_those_of_transformers(theirs: str, warmup: float, total: int) -> None:
    ours, ratio = EQUAL[theirs]
    more = {"min_lr_rate": ratio} if ratio else {}
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    steps = math.ceil(warmup * total) if warmup < 1 else warmup
    scheduler = get_scheduler(theirs, optimizer, steps, total, scheduler_specific_kwargs=more)
    rates = []
    for _ in range(total):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert factors(total, ours, warmup=warmup, ratio=ratio) == pytest.approx(rates, abs=1e-12)
