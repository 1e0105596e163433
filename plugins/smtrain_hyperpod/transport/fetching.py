"""Bringing files from a login node: each whole and verified, all put in place at the end, going on after a break."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from smtrain.plugin import ExitCode, Json, Observer, amounts, fail
from smtrain_hyperpod.transport import session
from smtrain_hyperpod.transport.session import Session
from smtrain_hyperpod.transport.way import Way

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A file there.

    Attributes:
      path: below what is fetched; "" when that is the file itself.
      size: in bytes.
      changed_ns: when it was changed last, in POSIX nanoseconds.
      executable: whether it is.
    """

    path: str
    size: int
    changed_ns: int
    executable: bool

    def is_at(self, path: Path) -> bool:
        """Returns whether it was fetched to this path before, and neither has been changed since."""
        try:
            found = path.stat()
        except OSError:
            return False
        return (found.st_size, found.st_mtime_ns) == (self.size, self.changed_ns)


def fetch(way: Way, path: str, to: Path, *, observer: Observer) -> tuple[Path, ...]:
    """Brings a file or a folder from a login node; the arguments are those of `LoginNode.fetch`."""
    to.parent.mkdir(parents=True, exist_ok=True)
    arriving = to.with_name(f".{to.name}.arriving")
    with session.order(way, {"verb": "send", "path": path}) as there:
        listed = there.answer()
        found = [_parsed(fields) for fields in cast("list[list[Json]]", listed["files"])]
        for skipped in cast("list[str]", listed["skipped"]):
            observer.line(f"{way.name}:{path}/{skipped}: left there, since it is no plain file")
        wanted = [each for each in found if not each.is_at(_below(to, each))]
        lacking = [each for each in wanted if not each.is_at(_below(arriving, each))]
        came = _receive(there, way, arriving, lacking)
    _put_in_place(arriving, to, wanted)
    known = len(found) - len(lacking)
    also = f"; {known} here already" if known else ""
    observer.line(f"{way.name}:{path}: fetched {amounts.count(len(lacking))}, {amounts.amount(came)}{also}")
    return tuple(_below(to, each) for each in found)


def _parsed(fields: Sequence[Json]) -> _Found:
    path, size, changed_ns, executable = fields
    return _Found(path=str(path), size=cast(int, size), changed_ns=cast(int, changed_ns), executable=bool(executable))


def _below(root: Path, found: _Found) -> Path:
    """Returns where a file goes.

    Raises:
      SmtrainError: that would be outside.
    """
    if not found.path:
        return root
    if found.path.startswith("/") or ".." in Path(found.path).parts:
        what = f"The login node lists `{found.path}`, which leads elsewhere."
        raise fail(what, code=ExitCode.REMOTE_REFUSED)
    return root / found.path


def _receive(there: Session, way: Way, arriving: Path, lacking: list[_Found]) -> int:
    """Takes files into a folder of their own, going on where one broke off, and returns how many bytes came."""
    parts = [(each, _part(_below(arriving, each))) for each in lacking]
    asked = [[each.path, part.stat().st_size if part.exists() else 0] for each, part in parts]
    there.send(json.dumps(asked).encode() + b"\n")
    came = 0
    for each, part in parts:
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as file:
            for data in _chunks(there):
                came += file.write(data)
        _verify(way, each, part, there.take(hashlib.sha256().digest_size * 2 + 1).decode().strip())
        part.chmod(0o755 if each.executable else 0o644)
        os.utime(part, ns=(each.changed_ns, each.changed_ns))
        part.replace(_below(arriving, each))
    return came


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _chunks(there: Session) -> Iterator[bytes]:
    """Yields what there is of a file, in pieces that are each announced by their size; one of 0 bytes ends it."""
    while True:
        line = there.stdout.readline()
        if not line.strip().isdigit():
            raise there.broken()
        left = int(line)
        if not left:
            return
        while left:
            data = there.take(min(_CHUNK, left))
            left -= len(data)
            yield data


def _verify(way: Way, found: _Found, part: Path, digest: str) -> None:
    with part.open("rb") as file:
        same = hashlib.file_digest(file, "sha256").hexdigest() == digest
    if not same or part.stat().st_size != found.size:
        part.unlink()
        what = f"{way.name}: `{found.path or part.name}` was changed while it was fetched."
        raise fail(what, "Fetch again, once nobody writes it.", code=ExitCode.REMOTE_REFUSED)


def _put_in_place(arriving: Path, to: Path, wanted: list[_Found]) -> None:
    """Moves what has arrived to where it belongs: at once, if nothing is there yet."""
    expected = {_below(arriving, each) for each in wanted}
    for left in [path for path in arriving.rglob("*") if path.is_file() and path not in expected]:
        left.unlink()  # of an earlier try, and gone there since
    if not to.exists() and expected:
        arriving.rename(to)
        return
    for each in wanted:
        target = _below(to, each)
        target.parent.mkdir(parents=True, exist_ok=True)
        _below(arriving, each).replace(target)
    shutil.rmtree(arriving, ignore_errors=True)
