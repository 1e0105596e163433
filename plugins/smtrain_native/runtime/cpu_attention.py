"""Attention over the spans of a packed row on a CPU, with one copy of everything kept for the backward pass.

Torch's fused kernel is called for each span, and its gradient too: keys of a shared prompt are laid in front of a
response's own for the length of one call only, and results are written where they belong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from smtrain_native.runtime.layout import Span

LONG = 384
"""Queries from which a shared prompt and a response's own keys are attended to one after the other.

Together they need a mask, with which the kernel computes what it hides; two calls cost more where there is little.
"""

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
      masks: for each span what is added to its scores; None is causal, behind a shared prompt that all queries see.
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
            query = _query(query_HTD, span, key_KTD.shape[0])
            found = []
            for part in _parts(span, mask):
                keys, values = part.seen(key_KTD, query), part.seen(value_KTD, query)
                found.append(
                    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(  # noqa: SLF001
                        query, keys, values, 0.0, part.causal, attn_mask=part.mask, scale=scale
                    )
                )
            out, norm = found[0] if len(found) == 1 else _merged(*found)
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
            query = _query(query_HTD, span, kept)
            for number, part in enumerate(_parts(span, mask)):
                keys, values = part.seen(key_KTD, query), part.seen(value_KTD, query)
                # With the output and the norm of all parts, the gradients of one are its share.
                of_query, *others = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(  # noqa: SLF001
                    above, query, keys, values, out, norm, 0.0, part.causal, attn_mask=part.mask, scale=ctx.scale
                )
                of_query = of_query.reshape(heads, span.queries, -1)
                grad[:, own] = of_query if number == 0 else grad[:, own] + of_query
                for total_KTD, each in zip(sums, others, strict=True):
                    part.add(total_KTD, each.sum(dim=1) if each.shape[1] > 1 else each.squeeze(1))
        return grad, *sums, None, None, None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Keys that a span's queries see in one call.

    Attributes:
      places: of the keys.
      mask: what is added to the scores.
      causal: whether query n sees the keys up to n.
    """

    places: tuple[slice, ...]
    mask: torch.Tensor | None
    causal: bool

    def seen(self, of_all_KTD: torch.Tensor, query_KGQD: torch.Tensor) -> torch.Tensor:
        """Returns the keys, or the values; heads that share them are a dimension of their own."""
        parts = [of_all_KTD[:, place] for place in self.places]
        joined_KSD = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return joined_KSD.unsqueeze(1).expand(-1, query_KGQD.shape[1], -1, -1)

    def add(self, total_KTD: torch.Tensor, each_KSD: torch.Tensor) -> None:
        """Adds the gradients of the keys, or of the values, to those of the row."""
        at = 0
        for place in self.places:
            size = place.stop - place.start
            total_KTD[:, place] += each_KSD[:, at : at + size]
            at += size


def _parts(span: Span, mask: torch.Tensor | None) -> tuple[_Part, ...]:
    own, prefix = slice(span.start, span.stop), slice(span.prefix_start, span.prefix_stop)
    if not span.prefix:
        return (_Part(places=(own,), mask=mask, causal=mask is None),)
    if mask is not None:
        return (_Part(places=(prefix, own), mask=mask, causal=False),)
    return _Part(places=(prefix,), mask=None, causal=False), _Part(places=(own,), mask=None, causal=True)


def _merged(
    one: tuple[torch.Tensor, torch.Tensor], other: tuple[torch.Tensor, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns what attention to both would have found, with the log-sum-exp of its scores."""
    (out, norm), (other_out, other_norm) = one, other
    share = torch.sigmoid(other_norm - norm).unsqueeze(-1)
    return torch.lerp(out, other_out, share.to(out.dtype)), torch.logaddexp(norm, other_norm)


def _query(query_HTD: torch.Tensor, span: Span, kept: int) -> torch.Tensor:
    return _grouped(query_HTD[:, span.start : span.stop], kept)


def _grouped(each_HQD: torch.Tensor, kept: int) -> torch.Tensor:
    return each_HQD.unflatten(0, (kept, -1))


def _by_token(out_KGQD: torch.Tensor) -> torch.Tensor:
    return out_KGQD.flatten(0, 1).transpose(0, 1)
