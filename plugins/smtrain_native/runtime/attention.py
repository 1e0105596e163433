"""Attention over a packed row: every sequence for itself, a shared prompt seen by both responses of a pair.

Registered with transformers under `NAME`, so that any model whose layers call its attention interface can use it. Which
tokens see which is told beside the call, by `over(layout)`: a model need not hand anything through.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import scaled_dot_product_attention

from smtrain_native.runtime import cpu_attention
from smtrain_native.runtime.layout import Layout, Span

NAME = "smtrain_packed"

_REFUSED = ("softcap", "s_aux", "sinks")
"""What some models ask of their attention beyond a scale and a window."""


class UnsupportedAttentionError(Exception):
    """A model asks for what packed attention has not."""


@dataclass(slots=True)
class _Current:
    layout: Layout | None = None
    kernel: str = "segments"
    rows: FlashRows | None = None


_current = _Current()


@contextlib.contextmanager
def over(layout: Layout, kernel: str) -> Iterator[None]:
    """Makes attention follow this layout; must last until the backward pass is done, which may run layers again.

    Args:
      layout: of the micro-batch, on the device.
      kernel: "segments" or "flash".
    """
    before = (_current.layout, _current.kernel, _current.rows)
    _current.layout, _current.kernel, _current.rows = layout, kernel, None
    try:
        yield
    finally:
        _current.layout, _current.kernel, _current.rows = before


def register() -> None:
    """Tells transformers of it."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, lambda *_, **__: None)


def has_flash(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether one kernel can do a whole row: on GPUs of Ampere and later, in 16 bits."""
    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16):
        return False
    ampere = 8
    return torch.cuda.get_device_capability(device)[0] >= ampere and _flash_kernel() is not None


def described(kernel: str, device: torch.device) -> str:
    """Returns how rows attend, for the log; and what would do it faster, where something would.

    Args:
      kernel: "segments", "flash" or "separate".
      device: where it computes.
    """
    if kernel == "separate":
        return "each sequence goes through the model by itself"
    if kernel == "flash":
        return f"a row in one kernel, {'of flash_attn' if _flash_kernel() is _flash_attn else 'of torch'}"
    slow = device.type == "cuda" and _flash_kernel() is None
    return f"a row sequence by sequence{'; flash-attn, or torch 2.12, would do it in one kernel' if slow else ''}"


def attention(
    module: torch.nn.Module,
    query_1HTD: torch.Tensor,
    key_1KTD: torch.Tensor,
    value_1KTD: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **more: object,
) -> tuple[torch.Tensor, None]:
    """Attends, as transformers' attention interface asks; H query heads, K key heads.

    Args:
      module: the layer.
      query_1HTD: queries of the packed row.
      key_1KTD: keys.
      value_1KTD: values.
      attention_mask: None.
      scaling: of the scores; None is 1/√D.
      dropout: must be 0.
      sliding_window: a token sees so many tokens, itself included.
      more: what else a model hands on.

    Returns:
      shape (1, T, H, D), and no weights.

    Raises:
      UnsupportedAttentionError: the model asks for more than that.
    """
    asked = [name for name in _REFUSED if more.get(name) is not None]
    if asked or dropout or attention_mask is not None or _current.layout is None:
        message = f"packed attention has no {', '.join(asked) or 'dropout or mask'}"
        raise UnsupportedAttentionError(message)
    attend = _flash if _current.kernel == "flash" else _segments
    return attend(_current.layout, query_1HTD, key_1KTD, value_1KTD, scaling, sliding_window), None


def _segments(
    layout: Layout,
    query_1HTD: torch.Tensor,
    key_1KTD: torch.Tensor,
    value_1KTD: torch.Tensor,
    scaling: float | None,
    window: int | None,
) -> torch.Tensor:
    """One call for each span: on CPUs as fast as a fused kernel, and there is none."""
    query_HTD, key_KTD, value_KTD = query_1HTD.squeeze(0), key_1KTD.squeeze(0), value_1KTD.squeeze(0)
    if cpu_attention.can(query_HTD, key_KTD, value_KTD):
        masks = [_cpu_mask(layout, span, window, query_1HTD) for span in layout.spans]
        return cpu_attention.attend(query_HTD, key_KTD, value_KTD, layout.spans, masks, scaling).unsqueeze(0)
    groups = len(query_HTD) // len(key_KTD)
    # Split once: the gradient of a slice is a row of zeros as long as the whole, for each slice.
    sizes = [span.queries for span in layout.spans]
    # Heads that share keys become a dimension of their own, over which keys are expanded without a copy.
    queries = query_HTD.unflatten(0, (-1, groups)).split(sizes, dim=2)
    keys, values = (_seen(layout, each.split(sizes, dim=1)) for each in (key_KTD, value_KTD))
    found = []
    for span, query_KGQD, key_KSD, value_KSD in zip(layout.spans, queries, keys, values, strict=True):
        mask = _mask(layout, span, window, query_1HTD)
        out_KGQD = scaled_dot_product_attention(
            query_KGQD,
            key_KSD.unsqueeze(1).expand(-1, groups, -1, -1),
            value_KSD.unsqueeze(1).expand(-1, groups, -1, -1),
            attn_mask=mask,
            is_causal=mask is None,
            scale=scaling,
        )
        found.append(out_KGQD.flatten(0, 1).transpose(0, 1))
    return torch.cat(found).unsqueeze(0)


def _seen(layout: Layout, own: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Returns the keys that each span sees: its own, behind those of the prompt that it shares.

    A shared prompt is the beginning of the span that begins with it.
    """
    starts = {span.start: number for number, span in enumerate(layout.spans)}
    return [
        torch.cat((own[starts[span.prefix_start]][:, : span.prefix], own[number]), dim=1)
        if span.prefix
        else own[number]
        for number, span in enumerate(layout.spans)
    ]


def _cpu_mask(layout: Layout, span: Span, window: int | None, like: torch.Tensor) -> torch.Tensor | None:
    """Returns what `cpu_attention` needs: no mask where it attends to a prompt by itself."""
    if span.queries >= cpu_attention.LONG and (window is None or window >= span.keys):
        return None
    return _mask(layout, span, window, like)


def _mask(layout: Layout, span: Span, window: int | None, like: torch.Tensor) -> torch.Tensor | None:
    """Returns what is added to the scores, (queries, keys); None where plain causal attention says it."""
    if window is not None and window >= span.keys:
        window = None
    if not span.prefix and window is None:
        return None
    shape = (span.queries, span.keys, window or 0)
    if shape not in layout.masks:
        query_Q1 = torch.arange(span.prefix, span.keys, device=like.device)[:, None]
        key_1K = torch.arange(span.keys, device=like.device)[None, :]
        seen_QK = key_1K <= query_Q1
        if window is not None:
            seen_QK &= key_1K > query_Q1 - window
        hidden = torch.zeros((), dtype=like.dtype, device=like.device).masked_fill(~seen_QK, float("-inf"))
        layout.masks[shape] = hidden
    return layout.masks[shape]


def _flash(
    layout: Layout,
    query_1HTD: torch.Tensor,
    key_1KTD: torch.Tensor,
    value_1KTD: torch.Tensor,
    scaling: float | None,
    window: int | None,
) -> torch.Tensor:
    """One kernel for the row: keys of a shared prompt are laid in front of each response that sees them.

    FlashAttention aligns the causal mask to the last query and the last key of a sequence (since its 2.1), which is
    just what a response with a prompt in front of it needs.
    """
    kernel = _flash_kernel()
    if kernel is None:
        message = "no FlashAttention kernel is installed"
        raise UnsupportedAttentionError(message)
    device = query_1HTD.device
    rows = _flash_rows(layout, device)
    # Autocast knows nothing of such a kernel, and rotating by angles in fp32 has made queries and keys fp32.
    dtype = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else query_1HTD.dtype
    query_THD, key_TKD, value_TKD = (
        each.squeeze(0).transpose(0, 1).to(dtype) for each in (query_1HTD, key_1KTD, value_1KTD)
    )
    if rows.keys_K is not None:
        key_TKD, value_TKD = key_TKD.index_select(0, rows.keys_K), value_TKD.index_select(0, rows.keys_K)
    out_THD = kernel(query_THD, key_TKD, value_TKD, rows, scaling, -1 if window is None else window - 1)
    return out_THD.unsqueeze(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlashRows:
    """Where sequences begin and end.

    Attributes:
      keys_K: token whose key stands at each place; None when that is its own.
      query_ends: cumulative numbers of queries, from 0; int32.
      key_ends: cumulative numbers of keys, from 0; int32.
      max_queries: of one sequence.
      max_keys: of one sequence.
    """

    keys_K: torch.Tensor | None
    query_ends: torch.Tensor
    key_ends: torch.Tensor
    max_queries: int
    max_keys: int


def flash_rows(layout: Layout, device: torch.device) -> FlashRows:
    """Returns the rows of a layout for a varlen kernel."""
    spans = layout.spans
    ends = [torch.tensor([0, *(getattr(span, of) for span in spans)]).cumsum(0) for of in ("queries", "keys")]
    index = None
    if any(span.prefix for span in spans):
        parts = [
            torch.arange(start, stop)
            for span in spans
            for start, stop in ((span.prefix_start, span.prefix_stop), (span.start, span.stop))
        ]
        index = torch.cat(parts).to(device)
    return FlashRows(
        keys_K=index,
        query_ends=ends[0].to(device, torch.int32),
        key_ends=ends[1].to(device, torch.int32),
        max_queries=max(span.queries for span in spans),
        max_keys=max(span.keys for span in spans),
    )


def _flash_rows(layout: Layout, device: torch.device) -> FlashRows:
    """Returns the rows of the current layout; every layer asks for them."""
    if _current.rows is None:
        _current.rows = flash_rows(layout, device)
    return _current.rows


Kernel = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, FlashRows, "float | None", int], torch.Tensor]


def _flash_kernel() -> Kernel | None:
    if importlib.util.find_spec("flash_attn") is not None:
        return _flash_attn
    return _torch_varlen if _has_torch_varlen() else None


@functools.cache
def _has_torch_varlen() -> bool:
    """Whether torch has the kernel with all that is asked of it: since 2.12; 2.10 had neither scale nor window."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return False
    return {"scale", "window_size", "enable_gqa"} <= inspect.signature(varlen_attn).parameters.keys()


def _flash_attn(
    query_THD: torch.Tensor, key_TKD: torch.Tensor, value_TKD: torch.Tensor, rows: FlashRows,
    scaling: float | None, window: int,
) -> torch.Tensor:  # fmt: skip
    from flash_attn import flash_attn_varlen_func  # type: ignore[import-not-found]  # where a GPU is

    found: torch.Tensor = flash_attn_varlen_func(
        query_THD, key_TKD, value_TKD, rows.query_ends, rows.key_ends, rows.max_queries, rows.max_keys,
        softmax_scale=scaling, causal=True, window_size=(window, 0 if window >= 0 else -1),
    )  # fmt: skip
    return found


def _torch_varlen(
    query_THD: torch.Tensor, key_TKD: torch.Tensor, value_TKD: torch.Tensor, rows: FlashRows,
    scaling: float | None, window: int,
) -> torch.Tensor:  # fmt: skip
    from torch.nn.attention.varlen import varlen_attn

    found: torch.Tensor = varlen_attn(
        query_THD.contiguous(), key_TKD.contiguous(), value_TKD.contiguous(), rows.query_ends, rows.key_ends,
        rows.max_queries, rows.max_keys, scale=scaling, window_size=(window, 0),
        enable_gqa=query_THD.shape[1] != key_TKD.shape[1],
    )  # fmt: skip
    return found
