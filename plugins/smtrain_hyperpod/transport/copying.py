"""Bringing a folder to a login node: by digest, complete or not at all, going on where a copy broke off."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from smtrain.plugin import ExitCode, Json, Observer, SmtrainError, amounts, fail
from smtrain_hyperpod.transport import session
from smtrain_hyperpod.transport.login_node import Copied
from smtrain_hyperpod.transport.session import Session
from smtrain_hyperpod.transport.way import Way

_CHUNK = 1 << 20
_ANNOUNCED = 64 << 20
"""Bytes from which on a copy is announced before it is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """A file to copy.

    Attributes:
      path: in the folder.
      key: under which the store keeps it: its sha256, and whether it is executable, which its links share.
      size: in bytes.
    """

    path: str
    key: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """What is copied, and where to; see `LoginNode.copy`."""

    folder: Path
    files: tuple[_File, ...]
    to: str
    store: str

    @property
    def objects(self) -> Mapping[str, _File]:
        """A file for each key: the same content is sent once, however many files have it."""
        return {file.key: file for file in self.files}

    def document(self) -> Mapping[str, Json]:
        """Returns the order as `on_node.py` takes it."""
        listed: list[Json] = [[file.path, file.key] for file in self.files]
        return {
            "verb": "receive",
            "to": self.to,
            "store": self.store,
            "files": listed,
            "objects": [[key, file.size] for key, file in self.objects.items()],
            "contents": hashlib.sha256(json.dumps(listed).encode()).hexdigest(),
        }


def copy(way: Way, folder: Path, *, to: str, store: str, observer: Observer, skip: Collection[str]) -> Copied:
    """Brings a folder to a login node; the arguments are those of `LoginNode.copy`."""
    order = _Order(folder=folder, files=tuple(_files(folder, frozenset(skip))), to=to, store=store)
    # A damaged rest of an earlier copy is thrown away when it is found to be so, and is then sent from its beginning.
    for _ in range(2):
        copied = _try(way, order, observer)
        if copied is not None:
            return copied
    what = f"{way.name}: what arrives there is not what was sent."
    raise fail(what, "Submit again, once nobody changes the bundle.", code=ExitCode.REMOTE_REFUSED)


def _try(way: Way, order: _Order, observer: Observer) -> Copied | None:
    """Returns what a copy came to; None when something that was there of an earlier one turned out to be damaged."""
    with session.order(way, order.document()) as there:
        first = there.answer()
        if "there" in first:
            observer.line(f"{way.name}:{first['there']}: there already")
            return Copied(path=str(first["there"]))
        if "taken" in first:
            raise _taken(way, str(first["taken"]))
        had = {str(key): cast(int, size) for key, size in cast("list[list[Json]]", first["lacking"])}
        total = sum(order.objects[key].size - offset for key, offset in had.items())
        if total >= _ANNOUNCED:
            observer.line(f"{way.name}: copying {amounts.count(len(had))}, {amounts.amount(total)}")
        for key, offset in had.items():
            if not _send(there, order.folder / order.objects[key].path, offset, order.objects[key].size):
                break  # nobody takes it any more: the answer says why
        last = there.answer()
    if "damaged" in last:
        return None
    known = len(order.objects) - len(had)
    also = f"; {known} there already" if known else ""
    observer.line(f"{way.name}:{last['done']}: copied {amounts.count(len(had))}, {amounts.amount(total)}{also}")
    return Copied(path=str(last["done"]), files_sent=len(had), bytes_sent=total)


def _send(there: Session, path: Path, offset: int, size: int) -> bool:
    """Sends a file from an offset on; returns whether it was taken."""
    with path.open("rb") as stream:
        stream.seek(offset)
        while offset < size:
            data = stream.read(min(_CHUNK, size - offset))
            if not data:
                what = f"{path} was changed while it was copied."
                raise fail(what, "Compile and submit again.")
            if not there.send(data):
                return False
            offset += len(data)
    return True


def _files(folder: Path, skip: Collection[str]) -> Iterator[_File]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in skip:
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            found = path.stat()
            executable = bool(found.st_mode & 0o100)
            yield _File(path=name, key=f"{digest}.x" if executable else digest, size=found.st_size)


def _taken(way: Way, path: str) -> SmtrainError:
    what = f"{way.name}:{path} holds something else already."
    return fail(what, "Move it away, or launch under another name or `attempt`.", code=ExitCode.REMOTE_REFUSED)
