"""Log-probabilities in chunks, against a log-softmax over all scores."""

from __future__ import annotations

import itertools

import pytest
import torch
from smtrain_native import footprint
from smtrain_native.runtime import logprobs
from smtrain_native.runtime.logprobs import LogprobHead, Scores
from torch import nn

TARGETS = torch.tensor([3, 0, 7, 7, 49, 12, 1, 2, 30, 31])
COUNT, WIDTH, VOCABULARY = len(TARGETS), 8, 50


def head(*, bias: bool, trained: bool, dtype: torch.dtype = torch.float64) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(WIDTH, VOCABULARY, bias=bias, dtype=dtype).requires_grad_(trained)


def hidden(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(COUNT, WIDTH, generator=torch.Generator().manual_seed(1), dtype=dtype, requires_grad=True)


def plain(linear: nn.Linear, states: torch.Tensor, scores: Scores) -> torch.Tensor:
    found = linear(states) * scores.scale
    if scores.softcap is not None:
        found = scores.softcap * torch.tanh(found / scores.softcap)
    return found.float().log_softmax(-1).gather(1, TARGETS[:, None])[:, 0]


SCORES = (Scores(), Scores(scale=0.25), Scores(softcap=2.0), Scores(scale=3.0, softcap=1.0))


@pytest.mark.parametrize(
    ("bias", "trained", "scores", "chunk_bytes"),
    [*itertools.product((False, True), (False, True), SCORES, (1, 2**20))],
)
def test_values_and_gradients_are_those_of_a_log_softmax(
    bias: bool, trained: bool, scores: Scores, chunk_bytes: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(logprobs, "CHUNK_BYTES", chunk_bytes)
    linear, other = head(bias=bias, trained=trained), head(bias=bias, trained=trained)
    ours, theirs = hidden(), hidden()
    weights = torch.arange(COUNT).sin()
    found = LogprobHead(linear, scores)(ours, TARGETS)
    wanted = plain(other, theirs, scores)
    torch.testing.assert_close(found, wanted)
    (found * weights).sum().backward()
    (wanted * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-7)
    for one, two in zip(linear.parameters(), other.parameters(), strict=True):
        assert (one.grad is None) == (not trained)
        if trained:
            torch.testing.assert_close(one.grad, two.grad, rtol=1e-5, atol=1e-6)


def test_on_a_gpu_a_part_is_what_the_plan_counts_on():
    weight, states = torch.empty(2**14, 8, device="meta"), torch.empty(20_000, 8, device="meta")
    sizes = [len(part) for (part,) in logprobs._chunks(weight, states)]
    assert (len(sizes), sum(sizes)) == (5, 20_000)
    assert max(sizes) * 2**14 * 4 <= footprint.LOSS_BYTES / 3


@pytest.mark.parametrize("trained", [False, True])
def test_no_tensor_over_the_vocabulary_outlives_a_chunk(trained: bool, monkeypatch: pytest.MonkeyPatch):
    """What is saved for the backward pass, in elements: no more than hidden states, the head, and a few a token."""
    monkeypatch.setattr(logprobs, "CHUNK_BYTES", 1)
    saved: list[int] = []

    def packed(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor.numel())
        return tensor

    states = torch.randn(400, WIDTH, requires_grad=True, dtype=torch.float64)
    targets = torch.randint(0, VOCABULARY, (400,))
    with torch.autograd.graph.saved_tensors_hooks(packed, lambda tensor: tensor):
        LogprobHead(head(bias=False, trained=trained), Scores())(states, targets).sum().backward()
    assert sum(saved) <= 400 * (WIDTH + 2) + VOCABULARY * WIDTH


def test_sixteen_bit_states_give_sixteen_bit_gradients_and_a_head_of_its_own_width():
    linear = head(bias=False, trained=True, dtype=torch.float32)
    states = hidden(torch.bfloat16)
    LogprobHead(linear, Scores())(states, TARGETS).sum().backward()
    assert states.grad is not None
    assert (states.grad.dtype, linear.weight.grad.dtype) == (torch.bfloat16, torch.float32)


def test_no_tokens_give_no_log_probabilities():
    found = LogprobHead(head(bias=False, trained=True), Scores())(hidden()[:0], TARGETS[:0])
    assert found.shape == (0,)
    found.sum().backward()


def test_without_targets_it_is_the_head_that_it_replaced():
    linear = head(bias=True, trained=True)
    torch.testing.assert_close(LogprobHead(linear, Scores())(hidden()), linear(hidden()))
