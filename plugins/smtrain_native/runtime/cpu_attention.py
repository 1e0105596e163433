"""Attention over the spans of a packed row on a CPU, with one copy of everything kept for the backward pass.

Torch's fused kernel is called for each span, and its gradient too: keys of a shared prompt are laid in front of a
response's own for the length of one call only, and results are written where they belong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from smtrain_native.runtime.layout import Span

_KERNEL = "_scaled_dot_product_flash_attention_for_cpu"


def can(query_HTD: torch.Tensor, key_KTD: torch.Tensor, value_KTD: torch.Tensor) -> bool:
    """Whether torch has its kernel, which is not documented, and it takes these."""
    each = (query_HTD, key_KTD, value_KTD)
    return (
        query_HTD.device.type == "cpu"
        and hasattr(torch.ops.aten, _KERNEL)
        and hasattr(torch.ops.aten, f"{_KERNEL}_backward")
        and len({tensor.shape[-1] for tensor in each}) == 1
        and all(tensor.stride(-1) == 1 for tensor in each)
    )


def attend(
    query_HTD: torch.Tensor,
    key_KTD: torch.Tensor,
    value_KTD: torch.Tensor,
    spans: Sequence[Span],
    masks: Sequence[torch.Tensor | None],
    scale: float | None,
) -> torch.Tensor:
    """Returns what each query sees, shape (T, H, D).

    Args:
      query_HTD: queries of the row, H heads.
      key_KTD: keys, K heads, each for H/K heads of queries.
      value_KTD: values.
      spans: who attends to whom; they cover the row in order.
      masks: for each span what is added to its scores; None is causal.
      scale: of the scores; None is 1/√D.
    """
    found: torch.Tensor = _Attention.apply(query_HTD, key_KTD, value_KTD, spans, masks, scale)
    return found


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  # torch names no type
        query_HTD: torch.Tensor,
        key_KTD: torch.Tensor,
        value_KTD: torch.Tensor,
        spans: Sequence[Span],
        masks: Sequence[torch.Tensor | None],
        scale: float | None,
    ) -> torch.Tensor:
        heads, tokens, size = query_HTD.shape
        out_THD = query_HTD.new_empty(tokens, heads, size)
        norms = []
        for span, mask in zip(spans, masks, strict=True):
            seen = _seen(query_HTD, key_KTD, value_KTD, span)
            out, norm = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(  # noqa: SLF001
                *seen, 0.0, mask is None, attn_mask=mask, scale=scale
            )
            out_THD[span.start : span.stop] = _by_token(out)
            norms.append(norm)
        ctx.save_for_backward(query_HTD, key_KTD, value_KTD, out_THD, *norms)
        ctx.spans, ctx.masks, ctx.scale = spans, masks, scale
        return out_THD

    @staticmethod
    def backward(ctx: Any, grad_THD: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # noqa: ANN401
        query_HTD, key_KTD, value_KTD, out_THD, *norms = ctx.saved_tensors
        heads, kept = query_HTD.shape[0], key_KTD.shape[0]
        grad = torch.empty_like(query_HTD)
        # Two responses see one prompt: what they say of it adds up.
        sums = [torch.zeros_like(each) for each in (key_KTD, value_KTD)]
        for span, mask, norm in zip(ctx.spans, ctx.masks, norms, strict=True):
            own = slice(span.start, span.stop)
            above, out = (_grouped(each[own].transpose(0, 1), kept) for each in (grad_THD, out_THD))
            seen = _seen(query_HTD, key_KTD, value_KTD, span)
            of_query, *others = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(  # noqa: SLF001
                above, *seen, out, norm, 0.0, mask is None, attn_mask=mask, scale=ctx.scale
            )
            grad[:, own] = of_query.reshape(heads, span.queries, -1)
            for total_KTD, each in zip(sums, others, strict=True):
                each_KSD = each.sum(dim=1) if each.shape[1] > 1 else each.squeeze(1)
                if span.prefix:
                    total_KTD[:, span.prefix_start : span.prefix_stop] += each_KSD[:, : span.prefix]
                total_KTD[:, own] += each_KSD[:, span.prefix :]
        return grad, *sums, None, None, None


def _seen(
    query_HTD: torch.Tensor, key_KTD: torch.Tensor, value_KTD: torch.Tensor, span: Span
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns a span's queries and what they see; heads that share keys are a dimension of their own."""
    query = _grouped(query_HTD[:, span.start : span.stop], key_KTD.shape[0])
    key, value = (
        _with_prefix(each, span).unsqueeze(1).expand(-1, query.shape[1], -1, -1) for each in (key_KTD, value_KTD)
    )
    return query, key, value


def _with_prefix(own_KTD: torch.Tensor, span: Span) -> torch.Tensor:
    own = own_KTD[:, span.start : span.stop]
    if not span.prefix:
        return own
    return torch.cat((own_KTD[:, span.prefix_start : span.prefix_stop], own), dim=1)


def _grouped(each_HQD: torch.Tensor, kept: int) -> torch.Tensor:
    return each_HQD.unflatten(0, (kept, -1))


def _by_token(out_KGQD: torch.Tensor) -> torch.Tensor:
    return out_KGQD.flatten(0, 1).transpose(0, 1)
