"""`smtrain diff A B`: two bundles, file by file."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

from smtrain import run_folders
from smtrain.command_line import CommandLine
from smtrain.console import Console
from smtrain.errors import ExitCode, fail
from smtrain.manifest import MANIFEST, Manifest, read
from smtrain.spec import Json

LARGEST_SHOWN = 1 << 20
"""Bytes; larger files are compared by digest only."""


def diff(line: CommandLine, console: Console) -> ExitCode:
    """Prints what differs; nothing when the bundles are the same."""
    options = line.options
    folders = [_bundle(text, Path(options.runs_dir)) for text in (options.a, options.b)]
    old, new = (read(folder) for folder in folders)
    found = list(changes(old, new))
    for kind, path in found:
        console.say(f"{kind} {path}")
        if kind == "changed":
            for text in _lines(folders[0] / path, folders[1] / path):
                console.say(f"  {text}")
    if not found:
        console.say(f"the same bundle: {new.run_id}")
    document: list[Json] = [{"change": kind, "path": path} for kind, path in found]
    console.result({"a": old.run_id, "b": new.run_id, "changes": document})
    return ExitCode.DONE


def _bundle(text: str, runs_dir: Path) -> Path:
    path = Path(text)
    for folder in (path, path / "bundle"):
        if (folder / MANIFEST).is_file():
            return folder
    if path.exists():
        raise fail(what=f"`{path}` holds no bundle.", fix="Give a run's folder, its bundle folder, or its id.")
    return run_folders.find(runs_dir, text) / "bundle"


def changes(old: Manifest, new: Manifest) -> Iterator[tuple[str, str]]:
    """Yields (removed, added or changed; path) of every file in which two bundles differ."""
    for path in sorted({*old.files, *new.files}):
        if path not in new.files:
            yield "removed", path
        elif path not in old.files:
            yield "added", path
        elif old.files[path] != new.files[path]:
            yield "changed", path
    if old.actions != new.actions:
        yield "changed", MANIFEST


def _lines(old: Path, new: Path) -> Iterator[str]:
    if max(old.stat().st_size, new.stat().st_size) > LARGEST_SHOWN:
        yield f"{old.stat().st_size:,} → {new.stat().st_size:,} bytes"
        return
    try:
        before, after = (path.read_text(encoding="utf-8").splitlines() for path in (old, new))
    except UnicodeDecodeError:
        yield "binary"
        return
    yield from list(difflib.unified_diff(before, after, lineterm="", n=1))[2:]
