"""The run time's own sources, as files of a program: the target needs nothing of smtrain installed."""

from __future__ import annotations

import functools
from pathlib import Path

from smtrain.plugin import TextFile

_PACKAGE = Path(__file__).parent


@functools.cache
def library() -> tuple[TextFile, ...]:
    """Returns the files that make `python -m smtrain_native.runtime.…` work; the same for every run of one version."""
    files = (_PACKAGE / "__init__.py", *sorted((_PACKAGE / "runtime").rglob("*.py")))
    return tuple(
        TextFile(path=path.relative_to(_PACKAGE.parent).as_posix(), text=path.read_text(encoding="utf-8"))
        for path in files
    )
