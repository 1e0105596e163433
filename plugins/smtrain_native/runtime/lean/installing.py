"""Puts the lean layers into a model, in place of those that compute the same: each is tried before it is replaced."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from smtrain_native.runtime.lean.gated import Activation, gated
from smtrain_native.runtime.lean.linear import LeanLinear, count_alike
from smtrain_native.runtime.lean.rms_norm import rms_norm
from smtrain_native.runtime.lean.rotary import rotary

Forward = Callable[[Any, torch.Tensor], torch.Tensor]

_ROTARY = "apply_rotary_pos_emb"
_EPSILONS = ("variance_epsilon", "eps", "epsilon")


def install(model: nn.Module) -> None:
    """Replaces the forward pass of norms, gated MLPs, linear layers and rotary embeddings that are known.

    Weights, names and hooks stay as they are. Gradients are those of the layer that was there.

    Args:
      model: with its adapter, its weights whole; is in training mode afterwards.
    """
    model.train()  # what happens in training alone, such as dropout, is to be the same as well
    classes: dict[type[nn.Module], type[nn.Module]] = {}
    for module in model.modules():
        kind = type(module)
        if kind is nn.Linear:
            module.__class__ = LeanLinear
            continue
        if kind not in classes:
            classes[kind] = _lean_class(module)
        module.__class__ = classes[kind]
        _rotate(sys.modules.get(kind.__module__))
    count_alike(model.modules())


def _lean_class(module: nn.Module) -> type[nn.Module]:
    """Returns the module's class, with the first forward pass that computes what the module does, if there is one."""
    kind = type(module)
    found = next((each for each in _candidates(module) if _agrees(module, each)), None)
    if found is None:
        return kind

    def forward(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return found(self, x)

    return type(kind.__name__, (kind,), {"forward": forward, "__module__": __name__})


def _candidates(module: nn.Module) -> Iterator[Forward]:
    names = dict(module.named_children())
    if type(module).__name__.endswith("RMSNorm") and not names:
        for name in _EPSILONS:
            if isinstance(getattr(module, name, None), float):
                yield functools.partial(_norm, epsilon=name, offset=False)
                yield functools.partial(_norm, epsilon=name, offset=True)
    for activation in Activation:
        if {"gate_proj", "up_proj", "down_proj"} <= set(names):
            yield functools.partial(_mlp, activation=activation)
        elif {"gate_up_proj", "down_proj"} <= set(names):
            yield functools.partial(_joined_mlp, activation=activation)


def _norm(module: Any, x: torch.Tensor, *, epsilon: str, offset: bool) -> torch.Tensor:  # noqa: ANN401
    return rms_norm(x, module.weight, getattr(module, epsilon), offset=offset)


def _mlp(module: Any, x: torch.Tensor, *, activation: Activation) -> torch.Tensor:  # noqa: ANN401
    found: torch.Tensor = module.down_proj(gated(module.gate_proj(x), module.up_proj(x), activation))
    return found


def _joined_mlp(module: Any, x: torch.Tensor, *, activation: Activation) -> torch.Tensor:  # noqa: ANN401
    gate, up = module.gate_up_proj(x).chunk(2, dim=-1)
    found: torch.Tensor = module.down_proj(gated(gate, up, activation))
    return found


@torch.no_grad()
def _agrees(module: nn.Module, forward: Forward) -> bool:
    """Whether it computes the same of a few random rows."""
    weight = next(module.parameters(), None)
    if weight is None:
        return False
    with torch.random.fork_rng(devices=[weight.device] if weight.is_cuda else []):
        torch.manual_seed(0)
        x = torch.randn(1, 5, weight.shape[-1]).to(weight.device, weight.dtype)
        try:
            return _close(_seeded(forward, module, x), _seeded(type(module).forward, module, x))
        except (AttributeError, RuntimeError, TypeError, ValueError):
            return False


def _seeded(forward: Forward, module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(1)
    return forward(module, x)


def _close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    if not isinstance(expected, torch.Tensor) or found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    slack = 16 * torch.finfo(expected.dtype).eps * expected.abs().max()
    return bool(((found - expected).abs() <= slack).all())


def _rotate(module: Any) -> None:  # noqa: ANN401
    """Replaces the function by which a model's file rotates queries and keys, which its layers call by name."""
    original = getattr(module, _ROTARY, None)
    if original is None or hasattr(original, "smtrain_original"):
        return

    @functools.wraps(original)
    def rotated(*given: Any, **named: Any) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ANN401  # the function's own
        found: tuple[torch.Tensor, torch.Tensor] | None = _rotated(*given, **named)
        return original(*given, **named) if found is None else found

    if _rotates_alike(original, rotated):
        rotated.smtrain_original = original  # type: ignore[attr-defined]  # tells that this is done
        setattr(module, _ROTARY, rotated)


def _rotated(
    q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, *more: object, **named: object
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Returns both, rotated; None if more is asked for than we know of."""
    axis = named.get("unsqueeze_dim", more[0] if more else 1)
    if not isinstance(axis, int) or len(more) > 1 or set(named) - {"unsqueeze_dim"}:
        return None
    if not cos.shape[-1] == q.shape[-1] == k.shape[-1]:
        return None
    cos, sin = cos.unsqueeze(axis), sin.unsqueeze(axis)
    return rotary(q, cos, sin), rotary(k, cos, sin)


@torch.no_grad()
def _rotates_alike(original: Callable[..., Any], rotated: Callable[..., Any]) -> bool:
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(1, heads, 5, 8, generator=generator) for heads in (4, 2))
    cos, sin = (torch.randn(1, 5, 8, generator=generator) for _ in range(2))
    try:
        pairs = zip(original(q, k, cos, sin), rotated(q, k, cos, sin), strict=True)
        return all(torch.allclose(theirs, ours, rtol=1e-5, atol=1e-6) for theirs, ours in pairs)
    except (RuntimeError, TypeError, ValueError):
        return False
