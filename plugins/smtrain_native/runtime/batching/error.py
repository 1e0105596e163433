"""What is raised where no plan exists."""

from __future__ import annotations

GRANULE = 32
"""Budgets are offered in multiples of so many tokens."""


class PlanError(Exception):
    """No plan meets what was asked; the message says what was found, and what to do.

    Attributes:
      sample: index of the sample at fault, so that a caller can name its prompt_id; None when no single one is.
      least_cap: the least budget that works, in tokens; None when no budget does.
    """

    def __init__(self, message: str, sample: int | None = None, least_cap: int | None = None) -> None:
        """Keeps the parts.

        Args:
          message: what was found, and what to do.
          sample: index of the sample at fault.
          least_cap: the least budget that works, in tokens.
        """
        # All as arguments, so that the error survives being sent between processes.
        super().__init__(message, sample, least_cap)
        self.sample = sample
        self.least_cap = least_cap

    def __str__(self) -> str:
        return str(self.args[0])


def rounded_up(tokens: int) -> int:
    """Returns the least multiple of the granule that is no smaller."""
    return -(-tokens // GRANULE) * GRANULE
