"""The token-budget planner: what every plan keeps to, how even and how full plans are, and what is refused."""

from __future__ import annotations

import heapq
import itertools
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from smtrain_native.runtime.batching import Plan, PlanError, find_budget, plan, work
from smtrain_native.runtime.batching.layout import Layout
from smtrain_native.runtime.batching.moving import move_singles

PLUGINS = Path(__file__).parents[2] / "plugins"

DISTRIBUTIONS = {
    "uniform": lambda rng, count: rng.integers(1, 1000, count),
    "lognormal": lambda rng, count: np.clip(rng.lognormal(5, 1, count), 1, 2000).astype(np.int64),
    "bimodal": lambda rng, count: np.where(
        rng.random(count) < 0.2, rng.integers(700, 1000, count), rng.integers(5, 60, count)
    ),
    "equal": lambda rng, count: np.full(count, rng.integers(1, 900)),
    "large": lambda rng, count: rng.integers(300, 600, count),
    "tiny": lambda rng, count: rng.integers(1, 8, count),
}


def lengths(kind: str, count: int, seed: int) -> np.ndarray:
    return DISTRIBUTIONS[kind](np.random.default_rng(seed), count)


def planned(tokens, *, cap, batch_size=1, world_size=1, accumulation=None, seed=0, epoch=0) -> Plan:
    cost = work(tokens, tokens, hidden_size=64)
    return plan(
        tokens,
        cost,
        cap=cap,
        batch_size=batch_size,
        world_size=world_size,
        accumulation=accumulation,
        seed=seed,
        epoch=epoch,
    )


def all_micro_batches(epoch: Plan) -> list[list[tuple[np.ndarray, ...]]]:
    return [[epoch.micro_batches(step, rank) for rank in range(epoch.world_size)] for step in range(epoch.num_steps)]


def assert_keeps_to_the_rules(epoch: Plan, tokens: np.ndarray, cap: int) -> None:
    steps = all_micro_batches(epoch)
    for step, ranks in enumerate(steps):
        assert len({len(batches) for batches in ranks}) == 1, "ranks with different numbers of micro-batches"
        batches = [batch for rank in ranks for batch in rank]
        assert all(batch.size for batch in batches), "an empty micro-batch"
        assert max(int(tokens[batch].sum()) for batch in batches) <= cap
        assert np.sort(np.concatenate(batches)).tolist() == epoch.step_samples(step).tolist()
    everything = np.concatenate([epoch.step_samples(step) for step in range(epoch.num_steps)])
    assert np.sort(everything).tolist() == list(range(tokens.size))


def worst_fit(tokens: np.ndarray, *, cap: int, bins: int, seed: int) -> list[list[tuple[int, int]]]:
    """System C's plan: (bin, sample) of each step. A sample longer than the cap goes into a bin of a new step."""
    steps: list[list[tuple[int, int]]] = []
    loads: list[tuple[int, int]] = []
    for sample in np.random.default_rng(seed).permutation(tokens.size).tolist():
        size = int(tokens[sample])
        if not loads or (loads[0][0] and loads[0][0] + size > cap):
            loads = [(0, index) for index in range(bins)]
            steps.append([])
        load, index = loads[0]
        heapq.heapreplace(loads, (load + size, index))
        steps[-1].append((index, sample))
    return steps


# ------------------------------------------------------------------------------------------------ work


def test_work_counts_attention_over_half_of_the_square() -> None:
    # h = 100, 600 tokens: 600 + 600² / 2 / (6 · 100) = 600 + 300.
    assert work([600], [600], hidden_size=100).tolist() == [900.0]


def test_a_shared_prompt_is_attended_to_but_computed_once() -> None:
    # Prompt 10, responses 4 and 6: pairs 14² / 2 + 16² / 2 − 10² / 2 = 98 + 128 − 50 = 176; 20 + 176 / (6 · 8).
    assert work([20], [14], [16], hidden_size=8, shared_N=[10]).tolist() == pytest.approx([20 + 176 / 48])
    # Not shared, the prompt is computed twice.
    assert work([30], [14], [16], hidden_size=8).tolist() == pytest.approx([30 + 226 / 48])


# ------------------------------------------------------------------------------------------------ rules of every plan


@settings(max_examples=150)
@given(
    kind=st.sampled_from(sorted(DISTRIBUTIONS)),
    count=st.integers(1, 400),
    seed=st.integers(0, 2**32),
    room=st.floats(1, 10),
    batch_size=st.integers(1, 64),
    world_size=st.integers(1, 6),
    accumulation=st.none() | st.integers(1, 4),
)
def test_no_cap_is_exceeded_and_every_sample_is_there_once(
    *, kind, count, seed, room, batch_size, world_size, accumulation
) -> None:
    tokens = lengths(kind, count, seed)
    cap = int(tokens.max() * room)
    try:
        epoch = planned(
            tokens, cap=cap, batch_size=batch_size, world_size=world_size, accumulation=accumulation, seed=seed
        )
    except PlanError as error:
        if error.least_cap is not None:
            assert error.least_cap > cap
            assert_keeps_to_the_rules(
                planned(
                    tokens,
                    cap=error.least_cap,
                    batch_size=batch_size,
                    world_size=world_size,
                    accumulation=accumulation,
                    seed=seed,
                ),
                tokens,
                error.least_cap,
            )
        return
    assert_keeps_to_the_rules(epoch, tokens, cap)
    report = epoch.report()
    counts = [epoch.step_samples(step).size for step in range(epoch.num_steps)]
    assert (report.samples_min, report.samples_max, report.steps) == (min(counts), max(counts), len(counts))
    assert report.tokens == tokens.sum()
    assert report.fill == pytest.approx(tokens.sum() / (report.micro_batches * cap))
    if accumulation is None:
        assert epoch.num_steps == -(-count // batch_size)
        assert max(counts) - min(counts) <= 1
    else:
        assert report.micro_batches == epoch.num_steps * world_size * accumulation


def test_the_report_of_a_hand_made_plan() -> None:
    # Two ranks, one step: 6 | 4 + 1 tokens, of work 6 and 5: (6 / 5.5); 11 of 2 · 8 tokens.
    epoch = plan([6, 4, 1], [6.0, 4.0, 1.0], cap=8, batch_size=3, world_size=2, accumulation=None, seed=0, epoch=0)
    report = epoch.report()
    assert (report.steps, report.micro_batches, report.tokens) == (1, 2, 11)
    assert (report.samples_min, report.samples_max) == (3, 3)
    assert report.fill == 11 / 16
    assert report.imbalance == pytest.approx(6 / 5.5)


def test_a_sample_as_long_as_the_cap_has_a_micro_batch_of_its_own() -> None:
    tokens = np.array([100, *([7] * 31)])
    for accumulation in (None, 2):
        epoch = planned(tokens, cap=100, batch_size=16, accumulation=accumulation)
        holding = [batch for ranks in all_micro_batches(epoch) for rank in ranks for batch in rank if 0 in batch]
        assert [batch.tolist() for batch in holding] == [[0]]


def test_huge_outliers_leave_the_other_steps_alone() -> None:
    tokens = np.full(1000, 50)
    tokens[[3, 500]] = 100_000
    report = planned(tokens, cap=100_000, batch_size=100, world_size=4).report()
    assert (report.steps, report.samples_min, report.samples_max) == (10, 100, 100)


def test_ranks_have_nearly_equal_work_where_no_single_sample_decides() -> None:
    tokens = lengths("lognormal", 4000, 1)
    assert planned(tokens, cap=8000, batch_size=400, world_size=4).report().imbalance < 1.01


def test_the_rank_with_the_heaviest_micro_batch_has_the_lightest_beside_it() -> None:
    # 8 and 7 first; then 2 goes to 7, and 1 to 8.
    epoch = plan([8, 7, 2, 1], [8.0, 7.0, 2.0, 1.0], cap=8, batch_size=4, world_size=2, accumulation=2)
    ranks = [[batch.tolist() for batch in epoch.micro_batches(0, rank)] for rank in range(2)]
    assert sorted(ranks) == [[[0], [3]], [[1], [2]]]
    assert epoch.report().imbalance == 1


def test_single_samples_move_into_room_that_is_left() -> None:
    # 10 | 6 | 1 1 1 1 1 1 under a cap of 10: nothing fits beside 10, and half of the ones beside 6.
    uneven = Layout(
        step_N=np.array([0, 1, 2, 2, 2, 2, 2, 2]), bin_N=np.zeros(8, dtype=np.int64), bins_S=np.ones(3, int)
    )
    moved = move_singles(uneven, np.array([10, 6, 1, 1, 1, 1, 1, 1]), 10)
    assert np.bincount(moved.step_N)[0] == 1
    assert sorted(np.bincount(moved.step_N)) == [1, 3, 4]


def test_steps_have_nearly_equal_work() -> None:
    tokens = lengths("lognormal", 4000, 1)
    cost = work(tokens, tokens, hidden_size=64)
    epoch = planned(tokens, cap=8000, batch_size=200)
    sums = [cost[epoch.step_samples(step)].sum() for step in range(epoch.num_steps)]
    assert max(sums) / np.mean(sums) < 1.01


# ------------------------------------------------------------------------------------------------ ranks and chance


def test_the_samples_of_a_step_do_not_depend_on_the_number_of_ranks() -> None:
    tokens = lengths("lognormal", 1003, 2)
    steps = [
        [epoch.step_samples(step).tolist() for step in range(epoch.num_steps)]
        for epoch in (planned(tokens, cap=3000, batch_size=32, world_size=ranks) for ranks in (1, 2, 4, 8))
    ]
    assert steps[0] == steps[1] == steps[2] == steps[3]


def test_with_accumulation_micro_batches_depend_on_ranks_times_accumulation_alone() -> None:
    tokens = lengths("lognormal", 1003, 2)
    found = [
        [
            sorted(tuple(batch.tolist()) for rank in ranks for batch in rank)
            for ranks in all_micro_batches(planned(tokens, cap=3000, world_size=ranks, accumulation=8 // ranks))
        ]
        for ranks in (1, 2, 4, 8)
    ]
    assert found[0] == found[1] == found[2] == found[3]


@pytest.mark.parametrize("accumulation", [None, 2])
@pytest.mark.parametrize("kind", ["lognormal", "equal", "large"])
def test_epochs_and_seeds_make_other_steps(kind: str, accumulation: int | None) -> None:
    tokens = lengths(kind, 500, 3)
    companies = []
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        made = planned(tokens, cap=4000, batch_size=10, accumulation=accumulation, seed=seed, epoch=epoch)
        companies.append({tuple(made.step_samples(step)) for step in range(made.num_steps)})
    for one, other in itertools.combinations(companies, 2):
        assert len(one & other) <= len(one) // 20


@pytest.mark.parametrize("accumulation", [None, 2])
def test_long_samples_are_no_earlier_than_short_ones(accumulation: int | None) -> None:
    tokens = lengths("lognormal", 2000, 4)
    longest = np.argsort(tokens)[-20:]
    places = []
    for epoch in range(20):
        made = planned(tokens, cap=4000, batch_size=10, accumulation=accumulation, epoch=epoch)
        steps = (step for step in range(made.num_steps) if np.isin(longest, made.step_samples(step)).any())
        places += [step / made.num_steps for step in steps]
    # 20 × 20 draws from 0 … 1 have a mean with a standard deviation of 0.29 / 20.
    assert abs(np.mean(places) - 0.5) < 0.05
    assert abs(np.std(places) - 12**-0.5) < 0.05


def test_another_process_with_another_hash_seed_plans_the_same() -> None:
    program = (
        "import numpy as np, hashlib\n"
        "from smtrain_native.runtime.batching import plan\n"
        "t = (np.arange(1, 3001, dtype=np.int64) * 7919) % 1009 + 1\n"
        "for a in (None, 2):\n"
        "    p = plan(t, t * 1.5, cap=2048, batch_size=24, world_size=2, accumulation=a, seed=5, epoch=3)\n"
        "    places = p.sample_N.astype('<i8').tobytes() + p.start_M1.astype('<i8').tobytes()\n"
        "    print(hashlib.sha256(places).hexdigest()[:16])\n"
    )
    answers = {
        subprocess.run(
            (sys.executable, "-c", program),
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(PLUGINS)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    # As first computed: another machine, or another numpy, finds the same.
    assert answers == {"ce8f37a46c469298\n84d0d2ee754a9eed\n"}


# ------------------------------------------------------------------------------------------------ few micro-batches


def fewest_bins(sizes: list[int], cap: int) -> int:
    """The least number of bins, by trying everything."""
    best = len(sizes)

    def place(index: int, loads: list[int]) -> None:
        nonlocal best
        if len(loads) >= best:
            return
        if index == len(sizes):
            best = len(loads)
            return
        for at in range(len(loads)):
            if loads[at] + sizes[index] <= cap:
                place(index + 1, [*loads[:at], loads[at] + sizes[index], *loads[at + 1 :]])
        place(index + 1, [*loads, sizes[index]])

    place(0, [])
    return best


@settings(max_examples=200)
@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=9), room=st.integers(0, 40))
# Longest first into the emptiest, and into the fullest, need three for what two hold.
@example(sizes=[6, 5, 4, 3, 2], room=4)
@example(sizes=[4, 4, 3, 3, 3, 3], room=6)
def test_a_small_step_has_the_fewest_micro_batches_there_can_be(sizes: list[int], room: int) -> None:
    cap = max(sizes) + room
    report = planned(np.array(sizes), cap=cap, batch_size=len(sizes)).report()
    assert report.micro_batches == fewest_bins(sizes, cap)


def test_steps_with_room_for_it_take_fewer_micro_batches_than_others() -> None:
    # Two long samples among short ones, two steps at cap 10: [10, 1, …] needs more than any without.
    tokens = np.array([10, 1, 1, 1, 1, 1])
    epoch = planned(tokens, cap=10, batch_size=3)
    assert sorted(len(epoch.micro_batches(step, 0)) for step in range(2)) == [1, 2]


# ------------------------------------------------------------------------------------------------ against system C


@settings(max_examples=200)
@given(
    kind=st.sampled_from(sorted(DISTRIBUTIONS)),
    count=st.integers(2, 600),
    seed=st.integers(0, 2**32),
    room=st.floats(1, 8),
    world_size=st.sampled_from([1, 2, 3, 4, 8]),
    accumulation=st.sampled_from([1, 2, 4]),
    divider=st.sampled_from([1, 1, 2, 3]),
)
def test_steps_are_as_even_as_system_cs_at_the_same_budget(
    *, kind, count, seed, room, world_size, accumulation, divider
) -> None:
    tokens = lengths(kind, count, seed)
    cap = int(tokens.max() * room)
    assume(tokens.max() <= cap // divider and world_size * accumulation <= count)
    theirs = [
        len(step)
        for step in worst_fit(tokens, cap=cap // divider, bins=world_size * accumulation * divider, seed=seed % 997)
    ]
    try:
        ours = planned(tokens, cap=cap, world_size=world_size, accumulation=accumulation, seed=seed).report()
    except PlanError as error:
        # Theirs has empty micro-batches there.
        assert len(theirs) * world_size * accumulation > count or error.least_cap is None
        return
    # Where the number of steps does not divide the samples, no plan has the same number in all.
    possible = 1 if count % ours.steps else 0
    assert ours.samples_max - ours.samples_min <= max(max(theirs) - min(theirs), possible)


@pytest.mark.parametrize("kind", ["uniform", "lognormal", "bimodal"])
def test_micro_batches_are_98_percent_full_and_steps_even_on_a_long_tail(kind: str) -> None:
    tokens = lengths(kind, 20_000, 5)
    report = planned(tokens, cap=4096, world_size=4, accumulation=2).report()
    assert report.fill > 0.98
    assert report.samples_max - report.samples_min <= 1


# ------------------------------------------------------------------------------------------------ the finder


@settings(max_examples=15)
@given(
    kind=st.sampled_from(sorted(DISTRIBUTIONS)),
    count=st.integers(4, 40),
    seed=st.integers(0, 2**32),
    batch_size=st.integers(2, 12),
    world_size=st.integers(1, 2),
)
def test_the_found_budget_is_the_least_multiple_of_32(kind, count, seed, batch_size, world_size) -> None:
    assume(batch_size <= count)
    tokens = lengths(kind, count, seed)
    cost = work(tokens, tokens, hidden_size=64)
    found = find_budget(tokens, cost, batch_size=batch_size, world_size=world_size, accumulation=1)
    assert found.max_tokens_per_device % 32 == 0
    assert found.report.samples_min >= batch_size
    again = plan(
        tokens,
        cost,
        cap=found.max_tokens_per_device,
        batch_size=batch_size,
        world_size=world_size,
        accumulation=1,
        seed=0,
        epoch=0,
    )
    assert again.report() == found.report
    for cap in range(32, found.max_tokens_per_device, 32):
        try:
            report = planned(tokens, cap=cap, world_size=world_size, accumulation=1).report()
        except PlanError:
            continue
        assert report.samples_min < batch_size


def test_the_found_budget_is_near_the_tokens_that_a_batch_has() -> None:
    tokens = lengths("lognormal", 20_000, 6)
    found = find_budget(tokens, tokens, batch_size=250, world_size=4, accumulation=2)
    # 250 samples in 8 micro-batches.
    assert found.max_tokens_per_device < 1.02 * 250 * tokens.mean() / 8 + 32
    assert found.report.steps == 80
    assert (found.report.samples_min, found.report.samples_max) == (250, 250)


# ------------------------------------------------------------------------------------------------ what is refused


def test_a_budget_below_the_longest_sample_names_it_and_the_least_that_works() -> None:
    tokens = np.array([5, 777, 9, 600])
    with pytest.raises(PlanError, match=r"Sample 1 has 777 tokens \(1 others.*512.*at least 800") as caught:
        planned(tokens, cap=512, batch_size=2)
    assert (caught.value.sample, caught.value.least_cap) == (1, 800)
    assert planned(tokens, cap=800, batch_size=2).num_steps == 2


def test_the_least_budget_leaves_no_micro_batch_empty_either() -> None:
    # Three samples for two ranks: two must share a micro-batch, whatever the longest is.
    with pytest.raises(PlanError) as caught:
        planned(np.array([100, 100, 100]), cap=64, batch_size=3, world_size=2)
    assert caught.value.least_cap == 224


def test_steps_that_no_equal_split_holds_say_the_least_budget() -> None:
    # 7 samples as long as the cap: two ranks can have three micro-batches each, and one sample is left.
    with pytest.raises(PlanError, match=r"A step of 7 samples .* 6 micro-batches of 64 .* at least 128\.") as caught:
        planned(np.full(7, 64), cap=64, batch_size=7, world_size=2)
    assert caught.value.least_cap == 128
    with pytest.raises(PlanError, match=r"7 samples do not fit into 6 micro-batches of 64 .* at least 128") as caught:
        planned(np.full(7, 64), cap=64, world_size=2, accumulation=1)
    assert caught.value.least_cap == 128


def test_fewer_samples_in_a_step_than_ranks_say_which_batch_size_works() -> None:
    with pytest.raises(PlanError, match=r"leave 4 to a step, fewer than the 8 ranks.*batch_size to at least 9"):
        planned(np.full(9, 5), cap=64, batch_size=8, world_size=8)
    assert planned(np.full(9, 5), cap=64, batch_size=9, world_size=8).num_steps == 1
    with pytest.raises(PlanError, match="at most 3 ranks"):
        planned(np.full(3, 5), cap=64, batch_size=8, world_size=8)
    with pytest.raises(PlanError, match="3 samples cannot fill the 4 micro-batches"):
        planned(np.full(3, 5), cap=64, world_size=2, accumulation=2)


@pytest.mark.parametrize(
    ("tokens", "cost", "told"),
    [
        ([], [], "There are no samples"),
        ([3, 0], [1, 1], "Sample 1 has 0 tokens"),
        ([3, -4], [1, 1], "Sample 1 has -4 tokens"),
        ([3, 4], [float("nan"), 1], "Sample 0 has nan work"),
        ([3, 4], [1, float("inf")], "Sample 1 has inf work"),
        ([3, 4], [1, -1], "Sample 1 has -1.0 work"),
        ([3, 4], [1], r"shape \(2,\).*shape \(1,\)"),
        ([3.5, 4.0], [1, 1], "give integers"),
    ],
)
def test_figures_that_cannot_be_are_refused(tokens: list, cost: list, told: str) -> None:
    dtype = None if tokens else np.int64
    with pytest.raises(PlanError, match=told):
        plan(np.array(tokens, dtype=dtype), cost, cap=8, batch_size=1, world_size=1)


@pytest.mark.parametrize("name", ["max_tokens_per_device", "batch_size", "world_size", "accumulation"])
def test_a_setting_below_one_is_refused(name: str) -> None:
    told = {"max_tokens_per_device": 8, "batch_size": 1, "world_size": 1, "accumulation": 1} | {name: 0}
    cap = told.pop("max_tokens_per_device")
    with pytest.raises(PlanError, match=f"{name} is 0"):
        plan([3], [1.0], cap=cap, **told)


def test_a_batch_size_that_no_budget_gives_says_why() -> None:
    with pytest.raises(PlanError, match="There are 3 samples, fewer than the batch size 4"):
        find_budget([1, 2, 3], [1, 2, 3], batch_size=4, world_size=1, accumulation=1)
    with pytest.raises(PlanError, match=r"2 ranks × accumulation 2 = 4 micro-batches.*3 samples.*accumulation to 1"):
        find_budget([1, 2, 3], [1, 2, 3], batch_size=3, world_size=2, accumulation=2)
    with pytest.raises(PlanError, match="at most 3 ranks"):
        find_budget([1, 2, 3], [1, 2, 3], batch_size=3, world_size=4, accumulation=1)


def test_all_work_zero_is_balanced_by_tokens() -> None:
    assert plan([3, 3], [0.0, 0.0], cap=8, batch_size=2, world_size=2).report().imbalance == 1


def test_a_seed_below_zero_and_a_very_long_sample_are_planned() -> None:
    tokens = np.array([2**31, 5, 7])
    assert_keeps_to_the_rules(planned(tokens, cap=2**31, batch_size=2, seed=-1), tokens, 2**31)


def test_the_error_survives_being_sent_between_processes() -> None:
    error = pickle.loads(pickle.dumps(PlanError("No.", sample=3, least_cap=64)))
    assert (str(error), error.sample, error.least_cap) == ("No.", 3, 64)


def test_a_step_or_rank_that_is_not_there_is_no_other_one() -> None:
    epoch = planned(np.full(8, 5), cap=64, batch_size=4, world_size=2)
    for step, rank in ((2, 0), (-1, 0), (0, 2), (0, -1)):
        with pytest.raises(IndexError):
            epoch.micro_batches(step, rank)


@pytest.mark.slow
@pytest.mark.parametrize("accumulation", [None, 4])
def test_a_million_samples_plan_in_seconds(accumulation: int | None) -> None:
    rng = np.random.default_rng(0)
    tokens = np.clip(rng.lognormal(5.5, 1, 1_000_000), 8, 8192).astype(np.int64)
    report = planned(tokens, cap=8192, batch_size=256, world_size=8, accumulation=accumulation).report()
    assert report.samples_max - report.samples_min <= 1
    assert accumulation is None or report.fill > 0.98
