"""`target:/absolute/path`: something that the target already has, such as a mount or an input channel of the user's."""

from __future__ import annotations

from collections.abc import Iterator

from smtrain.errors import Problem
from smtrain.spec import ModelSource

PREFIX = f"{ModelSource.TARGET.value}:"


def is_on_target(reference: str) -> bool:
    """Whether a reference says that the target has it already."""
    return reference.startswith(PREFIX)


def path_there(reference: str) -> str:
    """Returns the path on the target of such a reference; any other reference as it is."""
    return reference.removeprefix(PREFIX)


def problems(reference: str, key: str) -> Iterator[Problem]:
    """Yields why a reference of this kind names no place; whether something lies there is seen at the launch only.

    Args:
      reference: a reference that `is_on_target`.
      key: of the setting.
    """
    path = path_there(reference)
    if path.startswith("/") and not path.startswith("//"):
        return
    # Two slashes are what a URL has; one of them is the user's idea of it.
    there = "/" + path.lstrip("/") if path.startswith("/") else "/opt/ml/input/data/NAME"
    what = f"`{reference}` names no absolute path on the target."
    yield Problem(key=key, what=what, fix=f"Write it like {PREFIX}{there}.")


def hint(reference: str) -> str:
    """Returns what to add to a fix when there is nothing here at a path that only the target may have."""
    return f"\nIf it is the target that has it: {PREFIX}{reference}." if reference.startswith("/") else ""
