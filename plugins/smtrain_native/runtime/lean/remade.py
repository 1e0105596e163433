"""A tensor that is made again in the backward pass instead of being kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

_ATTRIBUTE = "smtrain_remade"


@dataclass(slots=True)
class Made:
    """The tensor while a backward pass needs it: several readers, one making.

    Attributes:
      tensor: None before the first reader, and after what made it is done.
      step: what was computed on the way to it, for as long; None where that is of no use.
    """

    tensor: torch.Tensor | None = None
    step: torch.Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Remade:
    """How to make a tensor again.

    Attributes:
      make: from the sources.
      sources: what it is made of; kept in place of it.
      made: shared by all readers.
    """

    make: Callable[..., torch.Tensor]
    sources: tuple[torch.Tensor, ...]
    made: Made


def mark(tensor: torch.Tensor, remade: Remade) -> torch.Tensor:
    """Returns the tensor, known to whoever reads this very object as one that need not be kept."""
    setattr(tensor, _ATTRIBUTE, remade)
    return tensor


def of(tensor: torch.Tensor) -> Remade | None:
    """Returns how to make it again; None if it must be kept."""
    found: Remade | None = getattr(tensor, _ATTRIBUTE, None)
    return found
