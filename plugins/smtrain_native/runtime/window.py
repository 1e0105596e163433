"""Averages over the steps between two lines of metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

_LATEST = frozenset({"epoch", "learning_rate"})
"""Metrics that say where the training stands; of all others the mean is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What was computed in some steps, over all processes.

    Attributes:
      samples: rows or pairs.
      tokens: non-padding tokens that went through the model.
      capacity_tokens: tokens that would have fitted into the micro-batches.
      square_tokens: Σ n² over the sequences of n tokens that attend to themselves.
      seconds: that it took, by the clock.
    """

    samples: int = 0
    tokens: int = 0
    capacity_tokens: int = 0
    square_tokens: int = 0
    seconds: float = 0.0

    def __add__(self, other: Work) -> Work:
        """Returns the work of both."""
        return Work(**{field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(self)})


class Window:
    """Collects the values of steps until they are told."""

    def __init__(self) -> None:
        """Starts empty."""
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._work = Work()
        self._steps = 0

    def add(self, values: Mapping[str, float], work: Work) -> None:
        """Takes one step; a metric that it lacks counts for the other steps alone."""
        for name, value in values.items():
            if name in _LATEST:
                self._sums[name], self._counts[name] = float(value), 1
            else:
                self._sums[name] = self._sums.get(name, 0.0) + float(value)
                self._counts[name] = self._counts.get(name, 0) + 1
        self._work += work
        self._steps += 1

    @property
    def steps(self) -> int:
        """How many steps were taken."""
        return self._steps

    @property
    def work(self) -> Work:
        """The work of all of them."""
        return self._work

    def means(self) -> dict[str, float]:
        """Returns the mean of each metric, of some its latest value."""
        return {name: value / self._counts[name] for name, value in self._sums.items()}

    def state(self) -> dict[str, object]:
        """Returns plain data for a checkpoint, so that a run that goes on tells the same averages."""
        work = asdict(self._work)
        return {"sums": dict(self._sums), "counts": dict(self._counts), "work": work, "steps": self._steps}

    def restore(self, state: Mapping[str, object]) -> None:
        """Takes what `state` returned."""
        match state:
            case {"sums": dict(sums), "counts": dict(counts), "work": dict(work), "steps": int(steps)}:
                self._sums, self._counts, self._work, self._steps = dict(sums), dict(counts), Work(**work), steps
            case _:
                message = f"the metrics of a checkpoint have another form: {sorted(state)}"
                raise ValueError(message)
