"""How numbers of files and bytes are told."""

from __future__ import annotations

_STEP = 1000


def count(files: int) -> str:
    """Returns e.g. "1 file" or "1,200 files"."""
    return f"{files:,} file{'' if files == 1 else 's'}"


def amount(size: float) -> str:
    """Returns e.g. "12 bytes" or "3.4 MB"."""
    for unit in ("bytes", "kB", "MB"):
        if size < _STEP:
            return f"{size:.3g} {unit}"
        size /= _STEP
    return f"{size:,.1f} GB"
