"""How a step of the program ends: its exit code, and one readable line for what the user can mend."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

FAILED = 1


class UserError(Exception):
    """Something that the user can mend; the message says where, what, and what to do."""


def told(main: Callable[[Sequence[str]], int], argv: Sequence[str]) -> int:
    """Runs a step's `main`; what the user can mend is told without a traceback, by one process of each node."""
    try:
        return main(argv)
    except UserError as error:
        if os.environ.get("LOCAL_RANK", "0") == "0":
            print(f"error: {error}", file=sys.stderr, flush=True)
        return FAILED
