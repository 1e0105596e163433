"""What went wrong, as JSON in the form in which the command line tells it."""

from __future__ import annotations

from collections.abc import Iterable


def as_json(messages: Iterable[str], exit_code: int) -> dict[str, object]:
    """Returns the document of a failure.

    Args:
      messages: what went wrong, and what to do about it.
      exit_code: of the process.
    """
    told = {"key": "", "where": None, "fix": "", "severity": "error"}
    return {"error": {"exit_code": exit_code, "problems": [{**told, "what": message} for message in messages]}}
