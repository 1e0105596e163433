"""Attention over packed rows, against attention with all of the mask written out."""

from __future__ import annotations

import math

import pytest
import torch
from native_trainings import PAIRS
from smtrain_native.runtime import attention, cpu_attention, flash_attention
from smtrain_native.runtime.layout import Layout, pack
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import varlen

HEADS, WIDTH = 4, 16


def qkv(layout: Layout, key_heads: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, heads, layout.tokens, WIDTH) for heads in (HEADS, key_heads, key_heads)]
    return [torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes]


def allowed(layout: Layout, window: int | None) -> torch.Tensor:
    """Who sees whom, token by token."""
    seen = torch.zeros(layout.tokens, layout.tokens, dtype=torch.bool)
    for span in layout.spans:
        keys = [*range(span.prefix_start, span.prefix_stop), *range(span.start, span.stop)]
        for number, query in enumerate(range(span.start, span.stop)):
            last = span.prefix + number
            first = 0 if window is None else max(0, last - window + 1)
            for key in keys[first : last + 1]:
                seen[query, key] = True
    return seen


def written_out(layout: Layout, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int | None) -> torch.Tensor:
    groups = HEADS // k.shape[1]
    scores = q @ k.repeat_interleave(groups, 1).transpose(-1, -2) / math.sqrt(WIDTH)
    weights = scores.masked_fill(~allowed(layout, window), -math.inf).softmax(-1)
    return (weights @ v.repeat_interleave(groups, 1)).transpose(1, 2)


@pytest.mark.parametrize("kernel", ["of a CPU", "of a CPU, part by part", "of anything", "of a row"])
@pytest.mark.parametrize("share_prompts", [True, False])
@pytest.mark.parametrize("key_heads", [HEADS, 2, 1])
@pytest.mark.parametrize("window", [None, 4])
def test_rows_attend_as_the_mask_says(
    share_prompts: bool, key_heads: int, window: int | None, kernel: str, monkeypatch: pytest.MonkeyPatch
):
    assert cpu_attention.can(*(each[0] for each in qkv(pack(PAIRS, share_prompts=True), key_heads)))
    if kernel == "of anything":
        monkeypatch.setattr(cpu_attention, "can", lambda *_: False)
    if kernel == "of a CPU, part by part":
        monkeypatch.setattr(cpu_attention, "LONG", 1)
    merged, merge = [], cpu_attention._merged
    monkeypatch.setattr(cpu_attention, "_merged", lambda *parts: merged.append(parts) or merge(*parts))
    layout = pack(PAIRS, share_prompts=share_prompts)
    ours, theirs = qkv(layout, key_heads), qkv(layout, key_heads)
    monkeypatch.setattr(flash_attention, "_of_torch", kernel_of_rows)
    with attention.over(layout, "flash" if kernel == "of a row" else "segments"):
        scaling = 1 / math.sqrt(WIDTH)
        found, _ = attention.attention(torch.nn.Module(), *ours, None, scaling=scaling, sliding_window=window)
    wanted = written_out(layout, *theirs, window)
    torch.testing.assert_close(found, wanted)
    assert bool(merged) == (kernel == "of a CPU, part by part" and share_prompts and window is None)
    for result in (found, wanted):
        (result * torch.arange(result.numel()).view(result.shape).sin()).sum().backward()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def kernel_of_rows(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rows: flash_attention.Rows, *scale_and_left: float
) -> torch.Tensor:
    """What the kernel of GPUs computes: a causal mask aligned to the last query and key of a sequence, and a window."""
    (scale, left), found = scale_and_left, []
    for ends in zip(*(each.unfold(0, 2, 1).tolist() for each in (rows.query_ends, rows.key_ends)), strict=True):
        (start, stop), (first, last) = ends
        queries, keys = stop - start, last - first
        assert query.shape[-1] == key.shape[-1] == value.shape[-1]
        assert (queries <= rows.max_queries, keys <= rows.max_keys) == (True, True)
        k, v = (each[first:last].repeat_interleave(query.shape[1] // key.shape[1], 1) for each in (key, value))
        scores = torch.einsum("qhd,khd->hqk", query[start:stop], k) * scale
        ahead = torch.ones(queries, keys).triu(1 + keys - queries).bool()
        behind = torch.ones(queries, keys).tril(keys - queries - left - 1).bool() & (left >= 0)
        weights = scores.masked_fill(ahead | behind, -math.inf).softmax(-1)
        found.append(torch.einsum("hqk,khd->qhd", weights, v))
    return torch.cat(found)


@pytest.mark.parametrize("kernel", ["flash", "segments"])
def test_values_may_be_narrower_than_keys(kernel: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(flash_attention, "_of_torch", kernel_of_rows)
    layout = pack(PAIRS)
    q, k, v = qkv(layout, HEADS)
    with attention.over(layout, kernel):
        found, _ = attention.attention(torch.nn.Module(), q, k, v[..., :10], None, scaling=1 / math.sqrt(WIDTH))
    torch.testing.assert_close(found, written_out(layout, q, k, v[..., :10], None))


@pytest.mark.parametrize(
    ("generation", "asked", "package", "why"),
    [
        (9, (torch.bfloat16, 256), "torch", None),
        (8, (torch.float16, 64), "flash_attn", None),
        (7, (torch.bfloat16, 64), "torch", "the kernel takes a GPU of Ampere or later"),
        (9, (torch.float32, 64), None, "the kernel computes in 16 bits"),
        (9, (torch.bfloat16, 512), "torch", "a head is 512 wide, and the kernel's at most 256"),
        (9, (torch.bfloat16, 64), None, "flash-attn is not installed, and torch has the kernel since 2.12"),
    ],
)
def test_why_a_gpu_does_not_do_a_row_in_one_kernel_is_told(
    generation: int,
    asked: tuple[torch.dtype, int],
    package: str | None,
    why: str | None,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (generation, 0))
    monkeypatch.setattr(flash_attention, "source", lambda: package)
    assert flash_attention.why_not(torch.device("cuda", 0), *asked) == why
    expected = f"a row in one kernel, of {package}" if why is None else f"a row sequence by sequence: {why}"
    assert attention.described("segments" if why else "flash", why) == expected


@pytest.mark.parametrize("key_heads", [HEADS, 2])
@pytest.mark.parametrize("window", [None, 4])
def test_torchs_varlen_kernel_takes_the_call(key_heads: int, window: int | None):
    """Its shapes and its gradient's are worked out without a GPU."""
    layout = pack(PAIRS, share_prompts=True)
    with FakeTensorMode(allow_non_fake_inputs=True), attention.over(layout, "flash"):
        tensors = [each.detach().bfloat16().requires_grad_() for each in qkv(layout, key_heads)]
        found, _ = attention.attention(torch.nn.Module(), *tensors, None, scaling=0.3, sliding_window=window)
        found.sum().backward()
    assert found.shape == (1, layout.tokens, HEADS, WIDTH)
    assert [each.grad.shape for each in tensors] == [each.shape for each in tensors]


def test_an_older_torch_whose_varlen_kernel_has_no_window_attends_by_segments(monkeypatch: pytest.MonkeyPatch):
    def of_2_10(query, key, value, *more, is_causal=False, return_aux=None): ...

    assert flash_attention.source() == "torch"
    flash_attention.source.cache_clear()
    try:
        monkeypatch.setattr(varlen, "varlen_attn", of_2_10)
        assert flash_attention.source() is None
    finally:
        flash_attention.source.cache_clear()


@pytest.mark.parametrize("asked", [{"softcap": 30.0}, {"s_aux": torch.zeros(HEADS)}, {"dropout": 0.1}])
def test_what_it_cannot_do_is_refused(asked: dict[str, object]):
    layout = pack(PAIRS)
    with (
        attention.over(layout, "segments"),
        pytest.raises(attention.UnsupportedAttentionError, match=next(iter(asked))),
    ):
        attention.attention(torch.nn.Module(), *qkv(layout, 2), None, **asked)


def test_outside_of_a_micro_batch_there_is_no_attention():
    layout = pack(PAIRS)
    with attention.over(layout, "segments"):
        pass
    with pytest.raises(attention.UnsupportedAttentionError):
        attention.attention(torch.nn.Module(), *qkv(layout, 2), None)
