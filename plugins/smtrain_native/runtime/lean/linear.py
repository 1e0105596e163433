"""A linear layer that keeps no input which can be made again, and multiplies by the quickest product at hand.

On a CPU in fp32 that is oneDNN's: torch's own, MKL's, took 1.1 to 1.5 times as long on an AMD EPYC with AVX-512 for the
forward products of small models, and as long for the gradients of weights, which stay torch's. But oneDNN first makes a
kernel for every number of rows, in half a millisecond, which has to be worth it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from smtrain_native.runtime.lean import remade
from smtrain_native.runtime.lean.remade import Made

_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
"""Variables that oneDNN, and torch's wrapper of it, read once, when their first product is computed."""

_KEPT = 16
"""Kernels that each keeps. It makes one for every shape, and no two micro-batches have the same number of tokens: by
default a thousand stay, which here held 340 MB and were no quicker.
"""


_WORTH = 2 * 10**9
"""Floating-point operations from which a kernel is made: on two cores some 10 ms, and a tenth less with it."""


def linear(x: torch.Tensor, weight_OI: torch.Tensor, bias_O: torch.Tensor | None, *, alike: int = 1) -> torch.Tensor:
    """Returns x · Wᵀ + b in the type of autocast, where that is on.

    Args:
      x: shape (…, I).
      weight_OI: W.
      bias_O: b.
      alike: products of these shapes that one forward pass computes.
    """
    dtype = _computed(x, weight_OI)
    if dtype is None:
        return functional.linear(x, weight_OI, bias_O)
    known = remade.of(x)
    make, sources, made = (known.make, known.sources, known.made) if known else (None, (), None)
    bias = None if bias_O is None else bias_O.to(dtype)
    found: torch.Tensor = _Linear.apply(x, weight_OI.to(dtype), bias, alike, make, made, *sources)
    return found


class LeanLinear(nn.Linear):
    """A linear layer.

    Attributes:
      alike: layers of its shape that are given as many rows, itself included.
    """

    alike: int = 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns x · Wᵀ + b."""
        return linear(x, self.weight, self.bias, alike=self.alike)


def count_alike(modules: Iterable[nn.Module]) -> None:
    """Tells each linear layer how many of its shape there are among modules that are all given the same rows."""
    layers = [each for each in modules if isinstance(each, LeanLinear)]
    shapes = Counter((each.in_features, each.out_features) for each in layers)
    for each in layers:
        each.alike = shapes[each.in_features, each.out_features]


def product(
    x_NI: torch.Tensor, weight_OI: torch.Tensor, bias_O: torch.Tensor | None = None, *, alike: int = 1
) -> torch.Tensor:
    """Returns x · Wᵀ + b, outside of autograd; both of one type.

    Args:
      x_NI: x.
      weight_OI: W.
      bias_O: b.
      alike: products of these shapes that follow one another.
    """
    worth = 2 * alike * x_NI.numel() * weight_OI.shape[0] >= _WORTH
    if worth and x_NI.dtype == torch.float32 and x_NI.device.type == "cpu" and _has_onednn():
        found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x_NI, weight_OI, bias_O, "none", [], "")  # noqa: SLF001
        return found
    return functional.linear(x_NI, weight_OI, bias_O)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  # torch names no type
        x: torch.Tensor,
        weight_OI: torch.Tensor,
        bias_O: torch.Tensor | None,
        alike: int,
        make: Any,  # noqa: ANN401
        made: Made | None,
        *sources: torch.Tensor,
    ) -> torch.Tensor:
        computed = x.to(weight_OI.dtype)
        trained = ctx.needs_input_grad[1]
        kept = (sources if make else (computed,)) if trained else ()
        ctx.save_for_backward(weight_OI if ctx.needs_input_grad[0] else None, *kept)
        ctx.make, ctx.made, ctx.dtype, ctx.alike = make, made, x.dtype, alike
        return product(computed, weight_OI, bias_O, alike=alike)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # noqa: ANN401
        weight_OI, *kept = ctx.saved_tensors
        grad_NO = grad.reshape(-1, grad.shape[-1])
        x_grad = weight_grad = bias_grad = None
        if ctx.needs_input_grad[0]:
            x_grad = product(grad, weight_OI.t(), alike=ctx.alike).to(ctx.dtype)
        if ctx.needs_input_grad[1]:
            x = _again(ctx, kept).to(grad.dtype)
            weight_grad = grad_NO.t() @ x.reshape(-1, x.shape[-1])
        if ctx.needs_input_grad[2]:
            bias_grad = grad_NO.sum(dim=0)
        return x_grad, weight_grad, bias_grad, *(None for _ in range(len(ctx.needs_input_grad) - 3))


def _again(ctx: Any, kept: list[torch.Tensor]) -> torch.Tensor:  # noqa: ANN401
    if ctx.make is None:
        return kept[0]
    if ctx.made.tensor is None:
        ctx.made.tensor = ctx.make(*kept)
    found: torch.Tensor = ctx.made.tensor
    return found


def _computed(x: torch.Tensor, weight_OI: torch.Tensor) -> torch.dtype | None:
    """Returns the type to compute in; None if torch is to say what is wrong."""
    if torch.is_autocast_enabled(x.device.type):
        return torch.get_autocast_dtype(x.device.type)
    return weight_OI.dtype if x.dtype == weight_OI.dtype else None


@cache
def _has_onednn() -> bool:
    """Whether torch has this operator, which is not documented, and it computes what it should."""
    if not torch.backends.mkldnn.is_available():
        return False
    for name in _CACHES:
        os.environ.setdefault(name, str(_KEPT))
    x_NI, weight_IO = torch.arange(6.0).reshape(2, 3), torch.arange(12.0).reshape(3, 4)
    try:
        found = torch.ops.mkldnn._linear_pointwise(x_NI, weight_IO.t(), None, "none", [], "")  # noqa: SLF001
    except (AttributeError, RuntimeError):
        return False
    return bool(torch.equal(found, x_NI @ weight_IO))
