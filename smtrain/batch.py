"""Batch arithmetic: global size = micro size × accumulation × processes, with what was left out derived."""

from __future__ import annotations

from dataclasses import dataclass

from smtrain.errors import Problem
from smtrain.spec import Batch

GLOBAL_KEY = "global_batch_size"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What was asked for, and what to call it."""

    global_size: int
    micro_size: int | None
    accumulation: int | None
    world_size: int
    micro_key: str
    accumulation_key: str

    @property
    def in_full(self) -> bool:
        return self.micro_size is not None and self.accumulation is not None

    @property
    def unit(self) -> int:
        """What the global size must be, or be a multiple of."""
        return (self.micro_size or 1) * (self.accumulation or 1) * self.world_size

    @property
    def adds_up(self) -> bool:
        return self.global_size == self.unit if self.in_full else self.global_size % self.unit == 0


def resolve(
    *,
    global_size: int | None,
    micro_size: int | None,
    accumulation: int | None,
    world_size: int,
    micro_key: str = "micro_batch_size",
    accumulation_key: str = "gradient_accumulation_steps",
) -> Batch | Problem:
    """Returns sizes that add up, or the problem that shows why they cannot.

    The problem is returned, not raised, so that the caller can report it together with others.

    Args:
      global_size: samples per optimizer step over all processes; None lets it follow.
      micro_size: samples per process and forward pass; None derives it when the other two are given, else 1.
      accumulation: forward passes per optimizer step; None derives it from the global size, else 1.
      world_size: processes over all nodes.
      micro_key: the configuration key that set the micro size, for messages; a trainer's own argument may have.
        "" where no key can, since the trainer fills micro-batches by tokens.
      accumulation_key: the same for accumulation.
    """
    named = ((GLOBAL_KEY, global_size), (micro_key, micro_size), (accumulation_key, accumulation))
    for key, value in named:
        if value is not None and value < 1:
            return Problem(key=key, what=f"{value} is not a positive number.", fix="Say 1 or more.")
    if global_size is None:
        micro, steps = micro_size or 1, accumulation or 1
        return Batch(global_size=micro * steps * world_size, micro_size=micro, accumulation=steps)
    if micro_size is None and accumulation is None:
        micro_size = 1
    asked = _Asked(
        global_size=global_size,
        micro_size=micro_size,
        accumulation=accumulation,
        world_size=world_size,
        micro_key=micro_key,
        accumulation_key=accumulation_key,
    )
    if not asked.adds_up:
        return Problem(key=GLOBAL_KEY, what=_arithmetic(asked), fix="\n".join(_ways_out(asked)))
    rest = global_size // asked.unit
    return Batch(global_size=global_size, micro_size=micro_size or rest, accumulation=accumulation or rest)


def _arithmetic(asked: _Asked) -> str:
    named = ((asked.micro_key, asked.micro_size), (asked.accumulation_key, asked.accumulation))
    factors = [f"{key} {value}" for key, value in named if key and value is not None]
    factors.append(f"{asked.world_size} process{'es' if asked.world_size > 1 else ''}")
    relation = "≠" if asked.in_full else "is not a multiple of"
    total = f" = {asked.unit}" if len(factors) > 1 else ""
    return f"{GLOBAL_KEY} {asked.global_size} {relation} {' × '.join(factors)}{total}."


def _ways_out(asked: _Asked) -> list[str]:
    below = asked.global_size // asked.unit * asked.unit
    nearest = [asked.unit] if asked.in_full else [size for size in (below, below + asked.unit) if size]
    ways = ["Say " + " or ".join(f"{GLOBAL_KEY}={size}" for size in nearest) + "."]
    per_process, remainder = divmod(asked.global_size, asked.world_size)
    if remainder == 0 and not asked.micro_key:
        fitting = _nearest_divisor(per_process, asked.accumulation or 1)
        ways.append(f"Or keep {GLOBAL_KEY}={asked.global_size} with {asked.accumulation_key}={fitting}.")
    elif remainder == 0:
        micro = _nearest_divisor(per_process, asked.micro_size or 1)
        ways.append(
            f"Or keep {GLOBAL_KEY}={asked.global_size} with {asked.micro_key}={micro} "
            f"and {asked.accumulation_key}={per_process // micro}."
        )
    return ways


def _nearest_divisor(number: int, wanted: int) -> int:
    """Returns the divisor of `number` nearest to `wanted`; of two, the smaller, which needs less memory."""
    divisors = (divisor for divisor in range(1, min(number, 2 * wanted) + 1) if number % divisor == 0)
    return min(divisors, key=lambda divisor: (abs(divisor - wanted), divisor))
