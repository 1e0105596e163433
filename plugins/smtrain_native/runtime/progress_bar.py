"""A progress bar with rate and ETA where there is a terminal; plain lines where there is none."""

from __future__ import annotations

import os
from typing import TextIO

from tqdm import tqdm

_SIZE = {"ncols": 80, "nrows": 24}
"""Of a terminal that does not tell its own, as those of containers and `script`; tqdm would draw nothing."""


class ProgressBar:
    """Shows how far a training is."""

    def __init__(self, total: int, *, start: int, out: TextIO) -> None:
        """Draws the bar.

        Args:
          total: steps of the whole training.
          start: steps done before.
          out: where it is drawn.
        """
        self._out = out
        self._bar = None
        if out.isatty():
            size = {"dynamic_ncols": True} if _tells_its_size(out) else _SIZE
            self._bar = tqdm(total=total, initial=start, file=out, unit="step", **size)

    def advance(self, step: int) -> None:
        """Moves the bar to a step."""
        if self._bar is not None:
            self._bar.update(step - self._bar.n)

    def say(self, line: str) -> None:
        """Prints a line, above the bar."""
        if self._bar is None:
            print(line, file=self._out, flush=True)
        else:
            tqdm.write(line, file=self._out)

    def close(self) -> None:
        """Leaves the bar as it is."""
        if self._bar is not None:
            self._bar.close()


def _tells_its_size(out: TextIO) -> bool:
    try:
        return os.get_terminal_size(out.fileno()).columns > 0
    except OSError:
        return False
