"""A decoder's last layer computes queries, the MLP, and what leads there, for the tokens alone whose result is read.

Of a prompt only keys and values are needed there: nobody asks what comes after its tokens, but for the last one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from smtrain_native.runtime.lean.linear import count_alike

_WORTH = 0.9
"""Share of tokens that are read, above which splitting and joining costs more than it spares."""


@dataclass(slots=True)
class Read:
    """The tokens whose last hidden state is read.

    Attributes:
      sizes: of parts of the row that are not read, read, not read, …; the whole row is read when there are none.
    """

    sizes: tuple[int, ...] = ()


def narrow(decoder: nn.Module) -> Read:
    """Makes the last layer compute only what is read, from now on.

    Args:
      decoder: of transformers.

    Returns:
      says what is read; to be told before each forward pass.
    """
    read, modules = Read(), tuple(_by_token(decoder))
    for module in modules:
        module.forward = functools.partial(_narrowed, module.forward, read)
    count_alike(each for module in modules for each in module.modules())
    return read


def _by_token(decoder: nn.Module) -> Iterator[Any]:
    """Yields what the last layer computes token by token, and no other token's result depends on."""
    layers = getattr(decoder, "layers", None)
    last = layers[-1] if isinstance(layers, nn.ModuleList) and len(layers) else None
    attention = getattr(last, "self_attn", None)
    for module in (getattr(attention, "q_proj", None), getattr(attention, "o_proj", None), getattr(last, "mlp", None)):
        if isinstance(module, nn.Module):
            yield module


def _narrowed(forward: Callable[..., Any], read: Read, x: torch.Tensor, *more: object, **named: object) -> Any:  # noqa: ANN401  # as forward
    sizes = read.sizes
    kept = sum(sizes[1::2])
    if x.ndim != len("1TD") or x.shape[:2] != (1, sum(sizes)) or kept > _WORTH * x.shape[1]:
        return forward(x, *more, **named)
    found = forward(torch.cat(x.split(sizes, dim=1)[1::2], dim=1), *more, **named)
    if not isinstance(found, torch.Tensor) or found.shape[:2] != (1, kept):
        return forward(x, *more, **named)
    nothing = found.new_zeros(1, max(sizes[::2]), found.shape[-1])
    parts = iter(found.split(sizes[1::2], dim=1))
    return torch.cat([nothing[:, :size] if at % 2 == 0 else next(parts) for at, size in enumerate(sizes)], dim=1)
