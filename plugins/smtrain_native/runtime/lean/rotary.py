"""Rotary position embedding (Su et al. 2021, arXiv 2104.09864), for pairs that stand in the two halves of a head."""

from __future__ import annotations

from typing import Any

import torch


def rotary(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Returns (a · cos - b · sin, b · cos + a · sin) where x = (a, b) in its last dimension.

    Args:
      x: shape (…, D), D even.
      cos: broadcasts to x, its last dimension D.
      sin: like cos.
    """
    found: torch.Tensor = _Rotary.apply(x, cos, sin)
    return found


class _Rotary(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
        ctx.save_for_backward(cos, sin)
        ctx.dtype = x.dtype
        out = torch.mul(x, cos)
        (a, b), (out_a, out_b), (sin_a, sin_b) = (each.chunk(2, dim=-1) for each in (x.to(out.dtype), out, sin))
        out_a.addcmul_(b, sin_a.to(out.dtype), value=-1)
        out_b.addcmul_(a, sin_b.to(out.dtype))
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # noqa: ANN401
        cos, sin = ctx.saved_tensors
        x_grad = torch.mul(grad, cos)
        (grad_a, grad_b), (x_a, x_b), (sin_a, sin_b) = (each.chunk(2, dim=-1) for each in (grad, x_grad, sin))
        x_a.addcmul_(grad_b, sin_b.to(grad.dtype))
        x_b.addcmul_(grad_a, sin_a.to(grad.dtype), value=-1)
        return x_grad.to(ctx.dtype), None, None
