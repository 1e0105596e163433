"""The product of a gated MLP (Shazeer 2020, arXiv 2002.05202): a(gate) · up, where a is SiLU or GELU."""

from __future__ import annotations

import enum
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from smtrain_native.runtime.lean.remade import Made, Remade, mark


class Activation(enum.Enum):
    """What bends the gate."""

    SILU = "silu"
    GELU = "gelu"
    GELU_TANH = "gelu_tanh"


def gated(gate: torch.Tensor, up: torch.Tensor, activation: Activation) -> torch.Tensor:
    """Returns a(gate) · up, which need not be kept.

    Args:
      gate: any shape.
      up: the same shape and type.
      activation: a.
    """
    made = Made()
    product = _Gated.apply(gate, up, activation, made)
    make = partial(_made_again, activation=activation, made=made)
    return mark(product, Remade(make=make, sources=(gate.detach(), up.detach()), made=made))


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  # torch names no type
        gate: torch.Tensor,
        up: torch.Tensor,
        activation: Activation,
        made: Made,
    ) -> torch.Tensor:
        ctx.save_for_backward(gate, up)
        ctx.activation, ctx.made = activation, made
        return _product(gate, up, activation=activation)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # noqa: ANN401
        gate, up = ctx.saved_tensors
        bent = _bent(gate, ctx.activation) if ctx.made.step is None else ctx.made.step
        ctx.made.tensor = ctx.made.step = None
        up_grad = bent.mul_(grad)
        return _slope(grad * up, gate, ctx.activation), up_grad, None, None


def _product(gate: torch.Tensor, up: torch.Tensor, *, activation: Activation) -> torch.Tensor:
    return _bent(gate, activation).mul_(up)


def _made_again(gate: torch.Tensor, up: torch.Tensor, *, activation: Activation, made: Made) -> torch.Tensor:
    made.step = _bent(gate, activation)  # which the product's own backward pass needs as well
    return made.step * up


def _bent(gate: torch.Tensor, activation: Activation) -> torch.Tensor:
    if activation is Activation.SILU:
        return functional.silu(gate)
    return functional.gelu(gate, approximate=_approximate(activation))


def _slope(grad: torch.Tensor, gate: torch.Tensor, activation: Activation) -> torch.Tensor:
    found: torch.Tensor
    if activation is Activation.SILU:
        found = torch.ops.aten.silu_backward(grad, gate)
    else:
        found = torch.ops.aten.gelu_backward(grad, gate, approximate=_approximate(activation))
    return found


def _approximate(activation: Activation) -> str:
    return "tanh" if activation is Activation.GELU_TANH else "none"
