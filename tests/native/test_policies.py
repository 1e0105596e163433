"""Every policy, with the counts that the report gives."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from native_sets import counts, pair_set, prepared, report_of, settings_of, sft_rows, sft_set, write_lines
from smtrain_native.runtime.data_errors import DataError
from smtrain_native.runtime.policies import truncated
from smtrain_native.runtime.token_store import TokenSet, open_sets
from transformers import AutoTokenizer

LONG = "one two three four five six seven eight nine ten eleven twelve " * 4


def pairs(*texts: tuple[str, str]) -> list[dict[str, object]]:
    return [
        {"prompt_id": f"q{number}", "prompt": f"{number}\n", "chosen": chosen, "rejected": rejected}
        for number, (chosen, rejected) in enumerate(texts)
    ]


def ids(rows: TokenSet) -> list[str]:
    return [rows.prompt_id(number) for number in range(len(rows))]


# ------------------------------------------------------------------------------------------------------------- too long


def test_too_long_samples_are_dropped_and_counted(tiny_model: Path, tmp_path: Path):
    rows = [{"prompt_id": name, "prompt": "a\n", "response": text} for name, text in (("x", "b"), ("y", LONG))]
    settings = settings_of(tiny_model, tmp_path, sft_set(write_lines(tmp_path / "r.jsonl", rows)), max_length=20)
    report = report_of(settings)
    assert (report["rows"], report["kept"]) == (2, 1)
    assert report["dropped"] == {"longer than max_length=20": {"samples": 1, "prompt_ids": ["y"]}}
    assert ids(open_sets(settings, "train")[0]) == ["x"]


def test_max_length_itself_is_not_too_long(tiny_model: Path, tmp_path: Path):
    data = sft_set(write_lines(tmp_path / "r.jsonl", sft_rows(5)))
    lengths = open_sets(settings_of(tiny_model, tmp_path, data), "train")[0].lengths.sum(axis=1)
    longest = int(lengths.max())
    exact, below = (settings_of(tiny_model, tmp_path, data, max_length=each) for each in (longest, longest - 1))
    assert len(open_sets(exact, "train")[0]) == 5
    assert len(open_sets(below, "train")[0]) == (lengths < longest).sum()


def test_a_pair_is_as_long_as_its_longer_sequence(tiny_model: Path, tmp_path: Path):
    file = write_lines(tmp_path / "r.jsonl", pairs(("b", "c"), (LONG, "c"), ("b", LONG)))
    settings = settings_of(tiny_model, tmp_path, pair_set(file), kind="preference", max_length=20)
    assert ids(open_sets(settings, "train")[0]) == ["q0"]


def test_truncation_cuts_the_prompt_from_the_left_and_is_counted(tiny_model: Path, tmp_path: Path):
    file = write_lines(tmp_path / "r.jsonl", [{"prompt": f"{LONG}\n", "response": "one two"}])
    settings = settings_of(tiny_model, tmp_path, sft_set(file), max_length=12, too_long="truncate")
    (rows,) = open_sets(settings, "train")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    response = [*tokenizer("one two")["input_ids"], tokenizer.eos_token_id]
    sample = rows.sample(0)
    assert sample.responses[0].tolist() == response
    assert sample.prompt.tolist() == tokenizer(f"{LONG}\n")["input_ids"][len(response) - 12 :]
    assert rows.lengths.tolist() == [[12 - len(response), len(response)]]
    assert counts(report_of(settings), "remarks") == {"longer than max_length=12, truncated": 1}


def test_truncation_cuts_the_response_from_the_right_as_a_last_resort(tiny_model: Path, tmp_path: Path):
    file = write_lines(tmp_path / "r.jsonl", [{"prompt": f"{LONG}\n", "response": LONG}])
    settings = settings_of(tiny_model, tmp_path, sft_set(file), max_length=12, too_long="truncate")
    sample = open_sets(settings, "train")[0].sample(0)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    assert sample.prompt.tolist() == tokenizer("\n")["input_ids"]
    assert sample.responses[0].tolist() == tokenizer(LONG)["input_ids"][:11]


def test_truncation_cuts_the_mask_with_the_response(tiny_model: Path, tmp_path: Path):
    said = [{"role": ("user", "assistant")[at % 2], "content": "one two three"} for at in range(6)]
    file = write_lines(tmp_path / "r.jsonl", [{"messages": said}])
    data = sft_set(file, format="openai", columns={"messages": "messages"})
    whole, cut = (
        open_sets(settings_of(tiny_model, tmp_path, data, prompt_type="chat", **how), "train")[0].sample(0)
        for how in ({}, {"max_length": 30, "too_long": "truncate"})
    )
    assert cut.masks[0] is not None
    assert cut.masks[0].dtype == np.bool_
    assert len(cut.masks[0]) == len(cut.responses[0]) == 29
    assert cut.masks[0].tolist() == whole.masks[0].tolist()[:29]
    assert not all(cut.masks[0].tolist())


@given(
    lengths=st.lists(st.tuples(*[st.integers(0, 60)] * 3), min_size=1, max_size=8),
    max_length=st.integers(2, 50),
)
def test_what_is_left_fits_and_no_more_is_cut_than_must_be(lengths: list[tuple[int, int, int]], max_length: int):
    for (prompt, *responses), (left, *kept) in zip(
        lengths, truncated(np.array(lengths, np.int32), max_length).tolist(), strict=True
    ):
        assert left + max(kept) <= max_length
        assert left >= min(prompt, 1)
        if left < prompt:
            assert left == max(max_length - max(responses), 1)
        assert kept == [min(each, max_length - left) for each in responses]


# ----------------------------------------------------------------------------------------- duplicates, identical, empty


def test_the_first_sample_of_a_prompt_id_that_is_kept_stays(tiny_model: Path, tmp_path: Path):
    texts = ("", "b", "c", "d")
    rows = [{"prompt_id": "same", "prompt": f"{text}x\n", "response": text} for text in texts]
    settings = settings_of(tiny_model, tmp_path, sft_set(write_lines(tmp_path / "r.jsonl", rows)))
    (found,) = open_sets(settings, "train")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    assert tokenizer.decode(found.sample(0).prompt) == "bx\n"
    assert counts(report_of(settings)) == {"empty response": 1, "prompt_id seen before": 2}


def test_prompt_ids_are_compared_within_a_set_only(tiny_model: Path, tmp_path: Path):
    file = write_lines(tmp_path / "r.jsonl", sft_rows(3))
    settings = settings_of(tiny_model, tmp_path, sft_set(file), sft_set(file, name="other"))
    assert [len(rows) for rows in open_sets(settings, "train")] == [3, 3]


def test_duplicates_may_be_kept_and_are_counted(tiny_model: Path, tmp_path: Path):
    file = write_lines(tmp_path / "r.jsonl", sft_rows(3) * 2)
    settings = settings_of(tiny_model, tmp_path, sft_set(file), duplicates="keep")
    assert len(open_sets(settings, "train")[0]) == 6
    assert counts(report_of(settings), "remarks") == {"prompt_id seen before": 3}


@pytest.mark.parametrize(("policy", "kept"), [("drop", ["q0"]), ("keep", ["q0", "q1"])])
def test_identical_pairs_are_dropped_or_kept_and_counted(
    tiny_model: Path, tmp_path: Path, policy: str, kept: list[str]
):
    file = write_lines(tmp_path / "r.jsonl", pairs(("b", "c"), ("b", "b")))
    settings = settings_of(tiny_model, tmp_path, pair_set(file), kind="preference", identical=policy)
    assert ids(open_sets(settings, "train")[0]) == kept
    report = report_of(settings)
    part = "dropped" if policy == "drop" else "remarks"
    assert counts(report, part) == {"chosen and rejected are identical": 1}


def test_unusable_rows_are_dropped_with_their_reasons(tiny_model: Path, tmp_path: Path):
    rows = [
        {"prompt": "a\n", "response": "b"},
        {"prompt": "c\n", "response": ""},
        {"prompt": "d\n", "response": None},
        {"prompt": [{"role": "assistant", "content": "e"}], "response": "f"},
        {"prompt": "", "response": "g"},
    ]
    settings = settings_of(tiny_model, tmp_path, sft_set(write_lines(tmp_path / "r.jsonl", rows)))
    assert counts(report_of(settings)) == {
        "messages do not take turns up to the assistant's": 1,
        "no response": 1,
        "empty response": 1,
        "empty prompt: there is nothing to predict the first token from": 1,
    }


@pytest.mark.parametrize(
    ("rows", "data", "says"),
    [
        (
            [("a", "b"), (LONG, "b")],
            {"too_long": "error", "max_length": 20},
            "longer than max_length=20: r.jsonl line 2",
        ),
        ([("a", "b"), ("c", "c")], {"identical": "error"}, "chosen and rejected are identical: r.jsonl line 2"),
    ],
)
def test_a_policy_of_error_names_the_lines(
    tiny_model: Path, tmp_path: Path, rows: list[tuple[str, str]], data: dict[str, object], says: str
):
    file = write_lines(tmp_path / "r.jsonl", pairs(*rows))
    with pytest.raises(DataError, match=says):
        prepared(settings_of(tiny_model, tmp_path, pair_set(file), kind="preference", **data))


def test_duplicates_as_errors_name_the_lines(tiny_model: Path, tmp_path: Path):
    file = write_lines(tmp_path / "r.jsonl", sft_rows(8) * 2)
    with pytest.raises(DataError, match=r"seen before: r\.jsonl line 9, .*line 13 and 3 more\. Mend the rows"):
        prepared(settings_of(tiny_model, tmp_path, sft_set(file), duplicates="error"))


def test_prompts_without_a_newline_are_warned_about_once_with_a_count(tiny_model: Path, tmp_path: Path):
    rows = [{"prompt_id": str(number), "prompt": f"{number}", "response": "b"} for number in range(9)]
    rows.append({"prompt_id": "z", "prompt": "z\n", "response": "b"})
    settings = settings_of(tiny_model, tmp_path, sft_set(write_lines(tmp_path / "r.jsonl", rows)))
    assert report_of(settings)["remarks"] == {
        "prompt does not end in a newline": {"samples": 9, "prompt_ids": ["0", "1", "2", "3", "4"]}
    }
    assert sum("newline" in line for line in prepared(settings).report().lines()) == 1


# -------------------------------------------------------------------------------------------------- weights and samples


@pytest.mark.parametrize(
    ("weight", "num_samples", "times"),
    [
        (1.0, None, {1: 20}),
        (0.5, None, {1: 10}),
        (2.0, None, {2: 20}),
        (2.25, None, {2: 15, 3: 5}),
        (1.0, 7, {1: 7}),
        (0.5, 10, {1: 5}),
        (1.0, 30, {1: 10, 2: 10}),
    ],
)
def test_weight_and_num_samples_say_how_often_each_sample_comes(
    tiny_model: Path, tmp_path: Path, weight: float, num_samples: int | None, times: dict[int, int]
):
    file = write_lines(tmp_path / "r.jsonl", sft_rows(20))
    settings = settings_of(tiny_model, tmp_path, sft_set(file, weight=weight, num_samples=num_samples))
    (rows,) = open_sets(settings, "train")
    assert Counter(Counter(ids(rows)).values()) == times
    assert ids(rows) == ids(open_sets(settings, "train")[0])
    report = report_of(settings)
    assert (report["kept"], report["drawn"]) == (20, len(rows))


def test_another_seed_draws_other_samples(tiny_model: Path, tmp_path: Path):
    data = sft_set(write_lines(tmp_path / "r.jsonl", sft_rows(40)), weight=0.5)
    first, second = (open_sets(settings_of(tiny_model, tmp_path, data, seed=seed), "train")[0] for seed in (1, 2))
    assert ids(first) != ids(second)
    assert first.digest != second.digest


def test_a_seed_that_draws_nothing_changes_nothing(tiny_model: Path, tmp_path: Path):
    data = sft_set(write_lines(tmp_path / "r.jsonl", sft_rows(4)))
    first, second = (open_sets(settings_of(tiny_model, tmp_path, data, seed=seed), "train")[0] for seed in (1, 2))
    assert first.digest == second.digest


def test_an_evaluation_set_has_no_weight(tiny_model: Path, tmp_path: Path):
    data = sft_set(write_lines(tmp_path / "r.jsonl", sft_rows(4)), role="eval", weight=0.5)
    assert len(open_sets(settings_of(tiny_model, tmp_path, data), "eval")[0]) == 4


# --------------------------------------------------------------------------------------------------------- nothing left


@pytest.mark.parametrize(
    ("rows", "changed", "says"),
    [
        ([], {}, "data set rows: there are no rows in "),
        ([{"prompt": "a\n", "response": ""}] * 3, {}, "of 3 samples none is left: 3 × empty response"),
        ([{"prompt": "a\n", "response": "b"}] * 3, {"weight": 0.1}, "weight=0.1 of 1 samples leaves none"),
    ],
)
def test_a_set_that_ends_up_empty_says_why(
    tiny_model: Path, tmp_path: Path, rows: list[dict[str, object]], changed: dict[str, object], says: str
):
    file = write_lines(tmp_path / "r.jsonl", rows)
    with pytest.raises(DataError) as caught:
        prepared(settings_of(tiny_model, tmp_path, sft_set(file, **changed)))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "data", "says"),
    [
        ({"weight": 0.0}, {}, "weight is 0.0; it must be above 0"),
        ({"weight": float("nan")}, {}, "weight is nan"),
        ({"num_samples": 0}, {}, "num_samples is 0; it must be at least 1"),
        ({}, {"max_length": 1}, "data.max_length is 1; it must be at least 2"),
        ({}, {"workers": 0}, "data.workers is 0; it must be at least 1"),
    ],
)
def test_numbers_out_of_range_are_errors(
    tiny_model: Path, tmp_path: Path, changed: dict[str, object], data: dict[str, object], says: str
):
    file = write_lines(tmp_path / "r.jsonl", sft_rows(2))
    with pytest.raises(DataError, match=says):
        prepared(settings_of(tiny_model, tmp_path, sft_set(file, **changed), **data))


def test_the_report_counts_tokens_and_lengths_of_an_epoch(tiny_model: Path, tmp_path: Path):
    file = write_lines(tmp_path / "r.jsonl", pairs(("b", "c"), (LONG, "c")))
    settings = settings_of(tiny_model, tmp_path, pair_set(file, weight=2.0), kind="preference")
    (rows,) = open_sets(settings, "train")
    report = report_of(settings)
    assert report["tokens"] == dict(
        zip(("prompt", "chosen", "rejected"), rows.lengths.sum(axis=0).tolist(), strict=True)
    )
    longest = (rows.lengths[:, 0] + rows.lengths[:, 1:].max(axis=1)).max()
    assert report["lengths"]["sequence"]["max"] == longest
