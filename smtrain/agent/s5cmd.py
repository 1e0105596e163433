"""S3 through s5cmd 2.x, the fastest of the three ways.

What it does was measured with 2.3.0: a file appears under its name only when it is whole (until then the name has a
number appended, and stays if s5cmd is killed); a size of zero is left out of its JSON; `cp` of a wildcard skips the
objects whose keys end in "/"; exit codes say little, so none is looked at.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from smtrain.agent import commands
from smtrain.agent.store import Bulk, StoredObject, StoreError, Transfer, shallow

_WILDCARDS = "*?"
_NOTHING = "no object found"


class S5cmd:
    """Runs s5cmd."""

    name = "s5cmd"

    def __init__(self, program: Path, *, endpoint: str = "") -> None:
        """Takes the program.

        Args:
          program: the executable.
          endpoint: URL of an S3 other than AWS's; s5cmd reads no AWS_ENDPOINT_URL.
        """
        self._command = (str(program), *(("--endpoint-url", endpoint) if endpoint else ()), "--json")
        # Otherwise a line for each object, which costs as much as a small object itself.
        self._quietly = (*self._command, "--log", "error")

    def walk(self, prefix: str) -> tuple[StoredObject, ...]:
        """Returns every object below the prefix."""
        return tuple(item for item in self._ls(f"{_plain(prefix)}*") if item.uri.startswith(prefix))

    def look(self, prefix: str) -> tuple[StoredObject, ...]:
        """Returns the objects and folders whose URI begins so."""
        if _plain(prefix) != prefix:
            deep = tuple(item for item in self._ls(f"{_plain(prefix)}*") if item.uri.startswith(prefix))
            return shallow(deep, prefix)
        return tuple(self._ls(prefix))

    def fetch(self, transfers: tuple[Transfer, ...], *, bulk: Bulk | None = None) -> tuple[str, ...]:
        """Fetches objects; in bulk with one command, which saves a request for each object."""
        if bulk is not None and _plain(bulk.prefix) == bulk.prefix and not _has_wildcard(str(bulk.folder)):
            done = commands.run((*self._quietly, "cp", f"{bulk.prefix}*", f"{bulk.folder}{os.sep}"))
            return _errors(done.errors)
        return self._copy(tuple((item.uri, str(item.path)) for item in transfers))

    def put(self, transfers: tuple[Transfer, ...]) -> tuple[str, ...]:
        """Stores files."""
        return self._copy(tuple((str(item.path), item.uri) for item in transfers))

    def delete(self, uris: tuple[str, ...]) -> None:
        """Deletes objects."""
        errors = self._each(("rm", "--raw"), tuple((uri,) for uri in uris))
        if errors:
            raise StoreError(errors[0])

    def _copy(self, pairs: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
        return self._each(("cp", "--raw"), pairs)

    def _each(self, verb: tuple[str, ...], operands: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
        """Runs one command for each, all in parallel."""
        # `run` reads a command a line: what holds a line break gets a process of its own.
        odd = tuple(words for words in operands if any("\n" in word or "\r" in word for word in words))
        lines = [shlex.join((*verb, *words)) for words in operands if words not in odd]
        errors: tuple[str, ...] = ()
        if lines:
            errors += _errors(commands.run((*self._quietly, "run"), text="\n".join(lines) + "\n").errors)
        for words in odd:
            errors += _errors(commands.run((*self._quietly, *verb, *words)).errors)
        return errors

    def _ls(self, pattern: str) -> Iterator[StoredObject]:
        done = commands.run((*self._command, "ls", pattern))
        errors = tuple(text for text in _errors(done.errors) if _NOTHING not in text)
        if errors or (done.code and not done.errors):
            raise StoreError(errors[0] if errors else f"s5cmd ls ended with exit code {done.code}")
        for line in done.output.split("\n"):
            if line:
                row = json.loads(line)
                yield StoredObject(uri=row["key"], size=row.get("size", 0), etag=row.get("etag", ""))


def _plain(prefix: str) -> str:
    """Returns the part before the first wildcard."""
    for index, character in enumerate(prefix):
        if character in _WILDCARDS:
            return prefix[:index]
    return prefix


def _has_wildcard(text: str) -> bool:
    return _plain(text) != text


def _errors(text: str) -> tuple[str, ...]:
    found = []
    for line in filter(None, map(str.strip, text.split("\n"))):
        try:
            row = json.loads(line)
        except ValueError:
            found.append(line)
        else:
            # The command names the object, which the error may not.
            found.append(f"{row['error']} ({row.get('command')})" if "error" in row else line)
    return tuple(found)
