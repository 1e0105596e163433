"""Attention over a packed row: every sequence for itself, a shared prompt seen by both responses of a pair.

Registered with transformers under `NAME`, so that any model whose layers call its attention interface can use it. Which
tokens see which is told beside the call, by `over(layout)`: a model need not hand anything through.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import scaled_dot_product_attention

from smtrain_native.runtime import cpu_attention, flash_attention
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
    rows: flash_attention.Rows | None = None


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


def described(kernel: str, why: str | None) -> str:
    """Returns how rows attend, for the log.

    Args:
      kernel: "segments", "flash" or "separate".
      why: not faster; None if nothing is, or it was chosen.
    """
    ways = {
        "flash": f"a row in one kernel, of {flash_attention.source()}",
        "segments": "a row sequence by sequence",
        "separate": "each sequence goes through the model by itself",
    }
    return f"{ways[kernel]}: {why}" if why else ways[kernel]


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
    if _current.kernel == "flash":
        if _current.rows is None:  # every layer asks for them
            _current.rows = flash_attention.rows(_current.layout, query_1HTD.device)
        return flash_attention.attend(_current.rows, query_1HTD, key_1KTD, value_1KTD, scaling, sliding_window), None
    return _segments(_current.layout, query_1HTD, key_1KTD, value_1KTD, scaling, sliding_window), None


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
