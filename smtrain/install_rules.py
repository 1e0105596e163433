"""What may be asked of pip on the target."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

from smtrain.errors import Problem

_PASSWORD = re.compile(r"://[^/\s:@]+:[^/\s@]+@")
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_CLAUSE = r"(?:===|~=|==|!=|<=|>=|<|>)\s*[^\s,;()=<>~]+"
_REQUIREMENT = re.compile(
    rf"{_NAME}\s*(?:\[[^\]]*\])?\s*(?:@\s*\S+|\(?{_CLAUSE}(?:\s*,\s*{_CLAUSE})*\)?)?\s*(?:;.+)?", re.ASCII
)
_URL = re.compile(r"(?:git\+|hg\+|svn\+|bzr\+)?[a-z]+://\S+(?:\s*;.+)?")
_OPTION = re.compile(
    r"--(?:extra-)?index-url[= ]\S+|--find-links[= ]\S+|--(?:no|only)-binary[= ]\S+|--pre|--prefer-binary"
)
_LOCAL = re.compile(
    r"(?:-r|-c|-e|--requirement|--constraint|--editable)\b.*|file:.*|[.~]?/.*|\.\.?(?:/.*)?|\S+\.(?:whl|txt|tar\.gz)"
)


class Install(Protocol):
    """What a backend's options say about installing."""

    @property
    def mode(self) -> str:
        """Whether anything is installed: "auto" or "never"."""
        ...

    @property
    def requirements(self) -> tuple[str, ...]:
        """Requirements, as pip takes them."""
        ...

    @property
    def index_url(self) -> str | None:
        """A package index of one's own."""
        ...


def problems(install: Install) -> Iterator[Problem]:
    """Yields what pip would not take, or must not be told in the open."""
    key = "backend.install.requirements"
    if install.requirements and install.mode == "never":
        what = "Requirements are named, and backend.install.mode=never installs nothing."
        yield Problem(key=key, what=what, fix="Leave one of the two out.")
    for line in install.requirements:
        if fault := _fault(line):
            yield Problem(key=key, what=fault[0], fix=fault[1])
    for place, text in ((key, " ".join(install.requirements)), ("backend.install.index_url", install.index_url or "")):
        if _PASSWORD.search(text):
            what = "A password stands in the URL, and would be in the bundle."
            yield Problem(
                key=place, what=what, fix="Let the target's pip.conf have it, or send wheels: backend.install.wheels."
            )
    if install.index_url is not None and not re.fullmatch(r"https?://\S+", install.index_url):
        what = f"{install.index_url!r} is no address of a package index."
        yield Problem(key="backend.install.index_url", what=what, fix="Write https://HOST/PATH.")


def _fault(line: str) -> tuple[str, str] | None:
    text = line.strip()
    if not text or not line.isprintable():
        return f"{line!r} is no requirement.", "Write one to an item of the list, e.g. einops==0.8.0."
    if text.startswith("#") or _OPTION.fullmatch(text) or (_URL.fullmatch(text) and not text.startswith("file:")):
        return None
    if _LOCAL.fullmatch(text):
        return (
            f"`{text}` refers to a file of this machine, which the target does not have.",
            "Write its lines out, or send wheels along: backend.install.wheels.",
        )
    return None if _REQUIREMENT.fullmatch(text) else (f"`{text}` is no requirement.", "Write e.g. einops==0.8.0.")
