"""What lies in an output's folder: its checkpoints, and its other files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from smtrain.agent.plan import PlannedOutput


@dataclass(frozen=True, slots=True)
class File:
    """A file below a folder: its relative path with "/", bytes, and time of change in ns."""

    path: str
    size: int
    mtime_ns: int = 0


def number(name: str) -> int:
    """Returns the number at the end of a checkpoint's name; 0 where there is none. The launch script does the same."""
    found = re.search(r"[0-9]+$", name)
    return int(found[0]) if found else 0


def is_checkpoint(output: PlannedOutput, name: str) -> bool:
    """Returns whether a name is that of a checkpoint folder of this output; `[` is no wildcard in its pattern."""
    pattern = re.sub(r"\[", "[[]", output.checkpoint_glob)
    return bool(output.checkpoint_glob) and not name.startswith(".") and fnmatchcase(name, pattern)


def checkpoints(output: PlannedOutput, folder: Path) -> tuple[Path, ...]:
    """Returns the checkpoint folders, whole or not, lowest number first."""
    try:
        entries = tuple(folder.iterdir())
    except OSError:
        return ()
    found = (path for path in entries if is_checkpoint(output, path.name) and path.is_dir())
    return tuple(sorted(found, key=lambda path: (number(path.name), path.name)))


def files(folder: Path) -> tuple[File, ...] | None:
    """Returns every file below a folder, in order of names; None when one vanished meanwhile."""
    try:
        return tuple(sorted(_files(folder, ""), key=lambda file: file.path))
    except OSError:
        return None


def _files(folder: Path, prefix: str) -> Iterator[File]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path), f"{prefix}{entry.name}/")
            elif entry.is_file():
                found = entry.stat()
                yield File(f"{prefix}{entry.name}", found.st_size, found.st_mtime_ns)
