"""Samples laid end to end."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from native_trainings import PAIRS, Tokens, tokens
from smtrain_native.runtime.layout import Span, pack, pair_tokens


def sample(prompt: list[int], *responses: list[int], masks: tuple[np.ndarray | None, ...] = (None, None)) -> Tokens:
    arrays = [np.array(ids, np.int32) for ids in (prompt, *responses)]
    return Tokens(prompt_id="x", prompt=arrays[0], responses=tuple(arrays[1:]), masks=masks[: len(responses)])


@pytest.mark.parametrize(
    ("prompt", "responses", "sizes"),
    [
        ([1, 2, 3], ([4, 5, 6], [7]), (2, 3, 2)),  # from the prompt's last token on; the rejected one predicts nothing
        ([1, 2, 3], ([4], [5, 6, 7]), (2, 4, 1)),  # a stray token, the end of the chosen one, is computed with it
        ([1], ([2, 3],), (0, 2, 1)),
        ([], ([1, 2, 3],), (0, 2, 1)),
        ([], ([1],), ()),
    ],
)
def test_the_parts_of_a_row_that_are_read(prompt: list[int], responses: tuple[list[int], ...], sizes: tuple[int, ...]):
    assert pack([sample(prompt, *responses)]).read_sizes == sizes


def test_a_pairs_prompt_stands_once_and_both_responses_count_from_its_end():
    layout = pack([sample([1, 2, 3], [4, 5], [6])])
    assert layout.ids_T.tolist() == [1, 2, 3, 4, 5, 6]
    assert layout.positions_T.tolist() == [0, 1, 2, 3, 4, 3]
    assert layout.spans == (Span(start=0, stop=5), Span(start=5, stop=6, prefix_start=0, prefix_stop=3))


def test_the_last_token_of_the_prompt_predicts_the_first_of_both_responses():
    layout = pack([sample([1, 2, 3], [4, 5], [6])])
    assert layout.sources_R.tolist() == [2, 3, 2]
    assert layout.targets_R.tolist() == [4, 5, 6]
    assert layout.sequence_R.tolist() == [0, 0, 1]


def test_unshared_a_prompt_stands_before_each_response():
    layout = pack([sample([1, 2, 3], [4, 5], [6])], share_prompts=False)
    assert layout.ids_T.tolist() == [1, 2, 3, 4, 5, 1, 2, 3, 6]
    assert layout.spans == (Span(start=0, stop=5), Span(start=5, stop=9))
    assert layout.sources_R.tolist() == [2, 3, 7]


def test_without_a_prompt_nothing_predicts_the_first_token():
    layout = pack([sample([], [4, 5, 6], [7])])
    assert layout.targets_R.tolist() == [5, 6]
    assert layout.lengths_S.tolist() == [2.0, 0.0]


def test_sums_are_of_each_sequence_and_of_trained_tokens_alone():
    mask = np.array([False, True])
    samples = [sample([1], [4, 5], masks=(mask,)), sample([1], [6, 7], masks=(None,))]
    layout = pack(samples, untrained=True)
    values = torch.tensor([1.0, 2.0, 4.0, 8.0])
    assert layout.sums(values).tolist() == [2.0, 12.0]
    assert layout.whole_sums(values).tolist() == [3.0, 12.0]
    assert layout.lengths_S.tolist() == [1.0, 2.0]
    assert layout.whole_lengths().tolist() == [2.0, 2.0]
    alone = pack(samples)
    assert alone.targets_R.tolist() == [5, 6, 7]
    assert alone.sums(values[1:]).tolist() == [2.0, 12.0]
    assert alone.lengths_S.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("share_prompts", [True, False])
def test_a_row_holds_no_more_tokens_than_are_counted(share_prompts: bool):
    lengths = [[len(each.prompt), *map(len, each.responses)] for each in PAIRS]
    counted = [pair_tokens(each, share_prompts=share_prompts) for each in lengths]
    # A pair that shares its prompt counts one token more than it has.
    assert sum(counted) - len(PAIRS) * share_prompts == pack(PAIRS, share_prompts=share_prompts).tokens
    assert pair_tokens([5, 7], share_prompts=share_prompts) == pack([tokens("a", 5, 7)]).tokens == 12


def test_a_long_sum_keeps_its_digits():
    """1200 nats, summed in single precision one after the other, would be off by 1e-3."""
    layout = pack([tokens("a", 1, 1200, 1)])
    values = torch.full((1201,), -1.0007)
    wanted = -1200 * torch.tensor(1.0007).double()
    assert abs(float(layout.sums(values)[0] - wanted)) < 1e-9
