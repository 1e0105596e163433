import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtrain.batch import resolve
from smtrain.errors import Problem
from smtrain.spec import Batch


@pytest.mark.parametrize(
    ("given_sizes", "world", "expected"),
    [
        ((None, None, None), 4, (4, 1, 1)),
        ((None, 2, None), 4, (8, 2, 1)),
        ((None, None, 3), 4, (12, 1, 3)),
        ((None, 2, 3), 4, (24, 2, 3)),
        ((32, None, None), 4, (32, 1, 8)),
        ((32, 4, None), 4, (32, 4, 2)),
        ((32, None, 2), 4, (32, 4, 2)),
        ((32, 4, 2), 4, (32, 4, 2)),
    ],
)
def test_what_is_left_out_is_derived(
    given_sizes: tuple[int | None, int | None, int | None], world: int, expected: tuple[int, int, int]
) -> None:
    global_size, micro, accumulation = given_sizes
    sizes = resolve(global_size=global_size, micro_size=micro, accumulation=accumulation, world_size=world)
    assert sizes == Batch(global_size=expected[0], micro_size=expected[1], accumulation=expected[2])


def test_a_contradiction_shows_the_arithmetic_and_what_would_work() -> None:
    problem = resolve(global_size=30, micro_size=4, accumulation=2, world_size=4)
    assert isinstance(problem, Problem)
    assert problem.key == "global_batch_size"
    assert problem.what == (
        "global_batch_size 30 ≠ micro_batch_size 4 × gradient_accumulation_steps 2 × 4 processes = 32."
    )
    assert problem.fix == "Say global_batch_size=32."


def test_an_indivisible_size_names_the_neighbours_and_the_nearest_micro_size() -> None:
    problem = resolve(
        global_size=24,
        micro_size=4,
        accumulation=None,
        world_size=4,
        micro_key="trainer.args.micro",
    )
    assert isinstance(problem, Problem)
    assert problem.what == ("global_batch_size 24 is not a multiple of trainer.args.micro 4 × 4 processes = 16.")
    assert problem.fix.splitlines() == [
        "Say global_batch_size=16 or global_batch_size=32.",
        # 24 / 4 processes = 6 samples each: 3 is the divisor of 6 nearest to 4.
        "Or keep global_batch_size=24 with trainer.args.micro=3 and gradient_accumulation_steps=2.",
    ]


@pytest.mark.parametrize(
    ("accumulation", "world", "what", "fix"),
    [
        (
            None,
            3,
            "global_batch_size 32 is not a multiple of 3 processes.",
            ["Say global_batch_size=30 or global_batch_size=33."],
        ),
        (
            3,
            2,
            "global_batch_size 32 is not a multiple of gradient_accumulation_steps 3 × 2 processes = 6.",
            [
                "Say global_batch_size=30 or global_batch_size=36.",
                # 16 samples a process: 2 and 4 divide it, as near to 3 as one another; the smaller is taken.
                "Or keep global_batch_size=32 with gradient_accumulation_steps=2.",
            ],
        ),
    ],
)
def test_where_tokens_fill_micro_batches_no_size_of_one_is_spoken_of(
    accumulation: int | None, world: int, what: str, fix: list[str]
) -> None:
    problem = resolve(global_size=32, micro_size=None, accumulation=accumulation, world_size=world, micro_key="")
    assert isinstance(problem, Problem)
    assert problem.what == what
    assert problem.fix.splitlines() == fix


def test_a_global_size_below_the_processes_is_refused() -> None:
    problem = resolve(global_size=2, micro_size=None, accumulation=None, world_size=4)
    assert isinstance(problem, Problem)
    assert problem.fix == "Say global_batch_size=4."


@pytest.mark.parametrize("name", ["global_size", "micro_size", "accumulation"])
def test_a_size_below_one_is_refused(name: str) -> None:
    sizes: dict[str, int | None] = {"global_size": None, "micro_size": None, "accumulation": None} | {name: 0}
    assert isinstance(resolve(**sizes, world_size=1), Problem)  # type: ignore[arg-type]


_size = st.none() | st.integers(1, 200)


@given(global_size=_size, micro=_size, accumulation=_size, world=st.integers(1, 64))
def test_sizes_add_up_and_keep_what_was_said(
    global_size: int | None, micro: int | None, accumulation: int | None, world: int
) -> None:
    sizes = resolve(global_size=global_size, micro_size=micro, accumulation=accumulation, world_size=world)
    if isinstance(sizes, Problem):
        assert global_size is not None
        unit = (micro or 1) * (accumulation or 1) * world
        in_full = micro is not None and accumulation is not None
        assert global_size != unit if in_full else global_size % unit
        return
    assert sizes.micro_size * sizes.accumulation * world == sizes.global_size
    assert global_size in (None, sizes.global_size)
    assert micro in (None, sizes.micro_size)
    assert accumulation in (None, sizes.accumulation)
