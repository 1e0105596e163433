"""Runs on the login node: takes files in, sends files out, reads the ends of files.

Its source is sent with each order, so nothing of smtrain is installed there; Python 3.6 and its standard library do.
The order is one line of JSON on standard input, and so is each answer on standard output; bytes of files go between.
Paths are handled as bytes: neither the locale nor a name that is no text matters.
"""

# Annotations stand in quotes, since Python 3.6 would evaluate them.

import errno
import fcntl
import hashlib
import json
import os
import shutil
import stat
import sys
import time
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 1 << 20
_LARGE = 1 << 24  # bytes from which on what the store has is trusted, since reading it again would take long
_PATIENCE_S = 30
_CONTENTS = b".smtrain-contents"
_NO_LINKS = (errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EACCES)


def main() -> None:
    """Does what the order on standard input says."""
    order = json.loads(sys.stdin.buffer.readline().decode("ascii"))
    try:
        {"receive": _receive, "send": _send, "read": _read}[order["verb"]](order)
    except OSError as error:
        path = error.filename if error.filename is not None else order.get("to", "")
        shown = path.decode("utf-8", "replace") if isinstance(path, bytes) else str(path)
        code = errno.errorcode.get(error.errno or 0, "")
        _answer({"refused": {"code": code, "path": shown, "text": str(error.strerror or error)}})


def _answer(document: "dict[str, Any]") -> None:
    sys.stdout.buffer.write(json.dumps(document).encode("ascii") + b"\n")
    sys.stdout.buffer.flush()


def _as_bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _as_text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def _place(path: str) -> bytes:
    return os.path.abspath(os.path.expanduser(_as_bytes(path)))


# ---------------------------------------------------------------------------------------------------------- taking in


def _receive(order: "dict[str, Any]") -> None:
    """Makes the folder `to` of files that the store has, after taking in those that it lacks."""
    place, store = _place(order["to"]), _place(order["store"])
    os.makedirs(os.path.join(store, b"incoming"), exist_ok=True)
    turn = None if _contents(place) else _Turn(store)
    contents = _contents(place)
    if turn is None or contents is not None:
        _answer({"there" if contents == order["contents"] else "taken": _as_text(place)})
        return
    parts = [_Part(store, key, size, turn) for key, size in order["objects"] if not _is_there(store, key, size)]
    _answer({"lacking": [[part.key, part.had] for part in parts]})
    for part in parts:
        if not part.fill(sys.stdin.buffer):
            _answer({"damaged": part.key})
            return
    _assemble(place, store, order)
    _answer({"done": _as_text(place)})


class _Turn:
    """The right to write into a store, which one copy has at a time, for as long as it gets on.

    Whoever waits for a copy of the same files then finds them there.

    Attributes:
      ending: of the names of parts; where nothing can be locked, no other process has the same.
    """

    def __init__(self, store: bytes) -> None:
        self.ending = b""
        self._file = open(os.path.join(store, b"incoming", b".turn"), "ab")  # noqa: SIM115  # until the program ends
        seen, since = -1, 0.0
        while not self._try():
            touched = os.fstat(self._file.fileno()).st_mtime_ns
            if touched != seen:
                seen, since = touched, time.monotonic()
            elif time.monotonic() - since > _PATIENCE_S:
                return
            time.sleep(0.1)

    def _try(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            self.ending = _own()
        return True

    def gets_on(self) -> None:
        """Tells those who wait that it does."""
        os.utime(self._file.fileno())


def _contents(place: bytes) -> "str | None":
    """Returns the digest of what a folder holds; None when nothing is there, "" when it is not of our making."""
    if not os.path.lexists(place) or (os.path.isdir(place) and not os.listdir(place)):
        return None
    try:
        with open(os.path.join(place, _CONTENTS), "rb") as file:
            return file.read().decode("ascii", "replace").strip()
    except OSError:
        return ""


def _object(store: bytes, key: str) -> bytes:
    return os.path.join(store, _as_bytes(key[:2]), _as_bytes(key))


def _is_there(store: bytes, key: str, size: int) -> bool:
    """Returns whether the store has an object; a small one that was changed there counts as none."""
    try:
        with open(_object(store, key), "rb") as file:
            there = os.fstat(file.fileno()).st_size
            return there == size and (size > _LARGE or hashlib.sha256(file.read()).hexdigest() == _digest(key))
    except OSError:
        return False


def _digest(key: str) -> str:
    return key.partition(".")[0]


class _Part:
    """An object on its way into the store."""

    def __init__(self, store: bytes, key: str, size: int, turn: _Turn) -> None:
        self.key, self.size, self.turn = key, size, turn
        self.final = _object(store, key)
        self.path = os.path.join(store, b"incoming", _as_bytes(key) + turn.ending)
        self.had = min(os.path.getsize(self.path), size) if os.path.exists(self.path) else 0

    def fill(self, stream: "IO[bytes]") -> bool:
        """Takes the rest from a stream, and moves the object into the store; returns whether it is what it must be."""
        with open(self.path, "ab+") as file:
            file.seek(0)
            digest = hashlib.sha256()
            for data in _chunks(file, self.had):
                digest.update(data)
            file.truncate(self.had)
            for data in _chunks(stream, self.size - self.had):
                digest.update(data)
                file.write(data)
                self.turn.gets_on()
            file.flush()
            os.fchmod(file.fileno(), 0o555 if self.key.endswith(".x") else 0o444)
            if self.size > _LARGE:  # smaller ones are looked at again before they are used
                os.fsync(file.fileno())
        if digest.hexdigest() != _digest(self.key):
            os.unlink(self.path)
            return False
        os.makedirs(os.path.dirname(self.final), exist_ok=True)
        os.rename(self.path, self.final)
        return True


def _own() -> bytes:
    """Returns an ending of names that no other process of the cluster has."""
    return b".%d.%s" % (os.getpid(), os.uname().nodename.encode("utf-8", "replace"))


def _chunks(stream: "IO[bytes]", count: int) -> "Iterator[bytes]":
    """Yields so many bytes; ends the program when there are fewer: whoever sends is gone, and may go on later."""
    while count:
        data = stream.read(min(_CHUNK, count))
        if not data:
            sys.exit(1)
        count -= len(data)
        yield data


def _assemble(place: bytes, store: bytes, order: "dict[str, Any]") -> None:
    """Makes the folder under another name, and gives it its own at once."""
    new = place + b".new" + _own()
    try:
        os.makedirs(new)
        for path, key in order["files"]:
            target = os.path.join(new, _as_bytes(path))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            _link(_object(store, key), target)
        with open(os.path.join(new, _CONTENTS), "w") as file:
            file.write(order["contents"] + "\n")
        try:
            os.rename(new, place)
        except OSError:
            if _contents(place) != order["contents"]:  # unless somebody was quicker with the same
                raise
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _link(source: bytes, target: bytes) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copy(source, target)


# -------------------------------------------------------------------------------------------------------- sending out


def _send(order: "dict[str, Any]") -> None:
    """Lists what is at a path, and sends the files that are then asked for, each followed by its digest."""
    root = _place(order["path"])
    files, skipped = _listing(root)
    _answer({"files": files, "skipped": skipped})
    for path, offset in json.loads(sys.stdin.buffer.readline().decode("ascii")):
        _send_file(os.path.join(root, _as_bytes(path)) if path else root, offset, sys.stdout.buffer)


def _send_file(path: bytes, offset: int, out: "IO[bytes]") -> None:
    digest, position = hashlib.sha256(), 0
    with open(path, "rb") as file:
        for data in iter(lambda: file.read(_CHUNK), b""):
            digest.update(data)
            rest = data[max(0, offset - position) :]
            position += len(data)
            if rest:
                out.write(b"%d\n" % len(rest) + rest)
    out.write(b"0\n" + digest.hexdigest().encode("ascii") + b"\n")
    out.flush()


def _listing(root: bytes) -> "tuple[list[list[Any]], list[str]]":
    """Returns [path, size, time of change, whether executable] of every file, and the paths of what is none."""
    if not os.path.isdir(root):
        return [_entry(root, b"")], []
    files, skipped = [], []
    for folder, folders, names in os.walk(root, onerror=_reraise):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in sorted(names):
            if os.path.isfile(os.path.join(folder, name)):
                files.append(_entry(root, os.path.relpath(os.path.join(folder, name), root)))
            else:
                links.append(name)
        skipped += [os.path.relpath(os.path.join(folder, name), root) for name in links]
    return files, [_as_text(path) for path in skipped]


def _entry(root: bytes, path: bytes) -> "list[Any]":
    found = os.stat(os.path.join(root, path) if path else root)
    return [_as_text(path), found.st_size, found.st_mtime_ns, bool(found.st_mode & stat.S_IXUSR)]


def _reraise(error: OSError) -> None:
    raise error


# ------------------------------------------------------------------------------------------------------------ reading


def _read(order: "dict[str, Any]") -> None:
    """Sends what files hold from an offset on, up to a limit; -1 bytes of a file that is not there."""
    for path, offset in order["files"]:
        try:
            with open(_place(path), "rb") as file:
                file.seek(offset)
                data = file.read(order["limit"])
        except FileNotFoundError:
            _answer({"size": -1})
            continue
        _answer({"size": len(data)})
        sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
