"""One line of a .gitignore file, with git's meaning of it (gitignore(5); wildmatch.c and dir.c of git 2.39).

Bytes throughout, as in git: `?` is one byte. Unlike the libraries for this, a pattern matches a path itself and never
what lies below it; whoever walks a tree does not enter what is ignored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_CLASSES = {
    b"alnum": rb"0-9A-Za-z",
    b"alpha": rb"A-Za-z",
    b"blank": rb" \t",
    b"cntrl": rb"\x00-\x1f\x7f",
    b"digit": rb"0-9",
    b"graph": rb"\x21-\x7e",
    b"lower": rb"a-z",
    b"print": rb"\x20-\x7e",
    b"punct": rb"\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e",
    b"space": rb" \t\n\v\f\r",
    b"upper": rb"A-Z",
    b"xdigit": rb"0-9A-Fa-f",
}
_CLASS = re.compile(rb"\[:([^\]]*):\]")
_STARS = re.compile(rb"\*+")
_NEVER = rb"(?!)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """A pattern.

    Attributes:
      regex: of the whole path, or of its last part.
      ignores: False for a line that begins with `!`.
      folders_only: whether the line ends in a slash.
      whole_path: whether it has another slash, so that it is held against the path and not against the last part.
    """

    regex: re.Pattern[bytes]
    ignores: bool
    folders_only: bool
    whole_path: bool

    def matches(self, path: bytes, *, is_folder: bool) -> bool:
        """Whether the pattern matches.

        Args:
          path: relative to the folder of the pattern's file.
          is_folder: whether a folder is there, and no link.
        """
        if self.folders_only and not is_folder:
            return False
        return self.regex.fullmatch(path if self.whole_path else path.rpartition(b"/")[2]) is not None


def parse(line: bytes) -> Pattern | None:
    """Returns the pattern of a line; None for an empty line and a comment."""
    if line.startswith(b"#"):
        return None
    text = _without_trailing_spaces(line)
    ignores = not text.startswith(b"!")
    text = text if ignores else text[1:]
    folders_only = text.endswith(b"/")
    text = text[:-1] if folders_only else text
    whole_path = b"/" in text
    text = text.removeprefix(b"/")
    if not text:
        return None
    regex = re.compile(_translated(text), re.DOTALL)
    return Pattern(regex=regex, ignores=ignores, folders_only=folders_only, whole_path=whole_path)


def _without_trailing_spaces(line: bytes) -> bytes:
    """A backslash keeps the space after it."""
    bare = line.rstrip(b" ")
    backslashes = len(bare) - len(bare.rstrip(b"\\"))
    return bare + b" " if backslashes % 2 and bare != line else bare


def _translated(text: bytes) -> bytes:
    """Returns the regular expression of a pattern; one that matches nothing for a malformed pattern."""
    found, at = b"", 0
    while at < len(text):
        char = text[at : at + 1]
        if char == b"*":
            part, at = _stars(text, at)
        elif char == b"?":
            part, at = b"[^/]", at + 1
        elif char == b"[":
            part, at = _bracket(text, at + 1)
        elif char == b"\\":
            escaped = text[at + 1 : at + 2]
            part, at = re.escape(escaped) if escaped else _NEVER, at + 2
        else:
            part, at = re.escape(char), at + 1
        found += part
    return found


def _stars(text: bytes, at: int) -> tuple[bytes, int]:
    """Returns the regular expression of the stars here, and where the rest begins: two between slashes cross them."""
    stars = _STARS.match(text, at)
    end = stars.end() if stars else at
    rest = text[end:]
    starts_part = at == 0 or text[at - 1 : at] == b"/"
    if end - at == 1 or not starts_part or not (not rest or rest.startswith((b"/", b"\\/"))):
        return b"[^/]*", end
    if rest.startswith(b"/"):
        return b"(?:.*/)?", end + 1
    return b".*", end


def _bracket(text: bytes, at: int) -> tuple[bytes, int]:
    """Returns the regular expression of a bracket whose content begins here, and where the rest begins."""
    negated = text[at : at + 1] in (b"!", b"^")
    at += negated
    items: list[bytes] = []
    before = b""  # what a range may begin with
    first = True
    while first or text[at : at + 1] != b"]":
        first = False
        is_range = before and text[at : at + 1] == b"-" and text[at + 1 : at + 2] not in (b"", b"]")
        char, at, named = _member(text, at)
        if not char and not named:
            return _NEVER, len(text)
        if named:
            items.append(named)
            before = b""
        elif is_range:
            upper, at, _ = _member(text, at, literally=True)
            items.append(re.escape(before) + b"-" + re.escape(upper) if upper and before <= upper else b"")
            before = b""
        else:
            items.append(re.escape(char))
            before = char
    content = b"".join(items)
    if not content:
        return (b"[^/]" if negated else _NEVER), at + 1
    return b"(?!/)[" + (b"^" if negated else b"") + content + b"]", at + 1


def _member(text: bytes, at: int, *, literally: bool = False) -> tuple[bytes, int, bytes]:
    """Returns the character of a bracket here, where the next begins, and instead of a character a class's content."""
    char = text[at : at + 1]
    if char == b"\\":
        return text[at + 1 : at + 2], at + 2, b""
    if char == b"[" and not literally and (named := _CLASS.match(text, at)):
        return b"", named.end(), _CLASSES.get(named[1], b"")
    return char, at + 1, b""
