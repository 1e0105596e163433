"""RMSNorm (Zhang and Sennrich 2019, arXiv 1910.07467): y = w · x / √(mean(x²) + ε)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from smtrain_native.runtime.lean.remade import Made, Remade, mark


def rms_norm(x: torch.Tensor, weight_D: torch.Tensor, eps: float, *, offset: bool = False) -> torch.Tensor:
    """Returns the norm, which need not be kept.

    Args:
      x: shape (…, D).
      weight_D: w.
      eps: ε.
      offset: whether it is 1 + w that multiplies, in fp32, as in Gemma, and the result has the type of x; otherwise it
        has the type that x and w promote to.
    """
    made = Made()
    y, rstd = _RmsNorm.apply(x, weight_D, eps, offset, made)
    sources = (x.detach(), rstd, weight_D)
    return mark(y, Remade(make=partial(_normed, offset=offset), sources=sources, made=made))


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  # torch names no type
        x: torch.Tensor,
        weight_D: torch.Tensor,
        eps: float,
        offset: bool,  # autograd functions take no keywords
        made: Made,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        norm = torch.linalg.vector_norm(x.float(), dim=-1, keepdim=True)
        rstd = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, rstd, weight_D)
        ctx.offset, ctx.made = offset, made
        ctx.mark_non_differentiable(rstd)
        return _normed(x, rstd, weight_D, offset=offset), rstd

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor, _: object) -> tuple[torch.Tensor | None, ...]:  # noqa: ANN401
        x, rstd, weight_D = ctx.saved_tensors
        ctx.made.tensor = None
        wide, grad = x.float(), grad.float()
        factor_D = weight_D.float() + 1 if ctx.offset else weight_D.float()
        slope = (grad * wide).reshape(-1, x.shape[-1])
        weight_grad_D = (rstd.reshape(1, -1) @ slope).squeeze(0).to(weight_D.dtype) if ctx.needs_input_grad[1] else None
        if not ctx.needs_input_grad[0]:
            return None, weight_grad_D, None, None, None
        along = (slope @ factor_D).reshape(rstd.shape).mul_(rstd.pow(3)).div_(x.shape[-1])
        x_grad = torch.mul(grad, factor_D).mul_(rstd).addcmul_(wide, along, value=-1)
        return x_grad.to(x.dtype), weight_grad_D, None, None, None


def _normed(x: torch.Tensor, rstd: torch.Tensor, weight_D: torch.Tensor, *, offset: bool) -> torch.Tensor:
    unit = torch.mul(x, rstd)  # fp32, as rstd is
    if offset:
        return unit.mul_(weight_D.float() + 1).to(x.dtype)
    unit = unit.to(x.dtype)
    return unit.mul_(weight_D) if unit.dtype == weight_D.dtype else unit * weight_D
