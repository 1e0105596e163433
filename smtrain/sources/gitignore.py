"""What a repository ignores, as git decides it, without git: .gitignore files, and .git/info/exclude."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from smtrain.sources.gitignore_pattern import Pattern, parse

FILE_NAME = ".gitignore"


@dataclass(frozen=True, slots=True)
class _Level:
    """The patterns of one file.

    Attributes:
      folder: that they are relative to.
      patterns: the last that matches decides.
    """

    folder: Path
    patterns: tuple[Pattern, ...]

    def verdict(self, path: Path, *, is_folder: bool) -> bool | None:
        """Whether the patterns ignore a path, or take it back; None when none matches it."""
        name = os.fsencode(path.relative_to(self.folder))
        return next(
            (pattern.ignores for pattern in reversed(self.patterns) if pattern.matches(name, is_folder=is_folder)), None
        )


@dataclass(frozen=True, slots=True)
class IgnoreRules:
    """The patterns that bear on one folder of a repository; those of deeper folders go before those above."""

    levels: tuple[_Level, ...] = ()

    def within(self, folder: Path) -> IgnoreRules:
        """Returns the rules inside a folder: these, and those of its own .gitignore."""
        own = _patterns(folder / FILE_NAME)
        return IgnoreRules((_Level(folder, own), *self.levels)) if own else self

    def ignores(self, path: Path, *, is_folder: bool) -> bool:
        """Whether git would leave this out, given that it does not leave out the folder that it lies in."""
        for level in self.levels:
            verdict = level.verdict(path, is_folder=is_folder)
            if verdict is not None:
                return verdict
        return False


def rules_above(folder: Path) -> IgnoreRules:
    """Returns the rules that a folder inherits: those of the folders above it, up to the root of its repository.

    The user's own exclude file (core.excludesFile) is left out: another user's bundle would have other files.

    Args:
      folder: absolute.
    """
    root = next((above for above in (folder, *folder.parents) if (above / ".git").exists()), None)
    if root is None:
        return IgnoreRules()
    exclude = _patterns(root / ".git" / "info" / "exclude")
    rules = IgnoreRules((_Level(root, exclude),) if exclude else ())
    for above in reversed(folder.parents):
        if above.is_relative_to(root):
            rules = rules.within(above)
    return rules


def _patterns(file: Path) -> tuple[Pattern, ...]:
    # Git reads none through a link (git 2.32).
    if file.is_symlink() or not file.is_file():
        return ()
    lines = file.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    found = (parse(line.removesuffix(b"\r")) for line in lines)
    return tuple(pattern for pattern in found if pattern is not None)
