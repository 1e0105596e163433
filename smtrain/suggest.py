"""The hint behind a misspelt name."""

from __future__ import annotations

from collections.abc import Iterable


def closest(name: str, choices: Iterable[str]) -> str | None:
    """Returns the choice most like `name`, or None when none is."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, list(choices), n=1, cutoff=0.6)), None)


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Returns a hint: the likeliest choice when one is close, otherwise all of them."""
    known = sorted(choices)
    match = closest(name, known)
    if match is not None:
        return f"Did you mean `{match}`?"
    return f"Choose one of: {', '.join(known)}." if known else ""
