"""Where tokens are kept, and how a file's content is known without reading it each time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from smtrain_native.runtime.data_errors import DataError
from smtrain_native.runtime.settings import Settings

_DIGEST_CHARACTERS = 32
_SETTLED_S = 2.0  # the coarsest time stamp of a file system in use


def folder(settings: Settings, environ: Mapping[str, str] = os.environ) -> Path:
    """Returns the cache's folder: data.cache_dir, $SMTRAIN_CACHE_DIR, or the user's own."""
    named = settings.data.cache_dir or environ.get("SMTRAIN_CACHE_DIR")
    if named:
        return Path(named).expanduser()
    own = environ.get("XDG_CACHE_HOME")
    return (Path(own) if own else Path("~/.cache").expanduser()) / "smtrain"


def digest_of(value: object) -> str:
    """Returns a digest of plain data."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_CHARACTERS]


def file_digest(path: Path, cache: Path) -> str:
    """Returns the sha256 of a file; that of a large one is remembered for as long as it is not written to.

    Raises:
      DataError: the file cannot be read.
    """
    try:
        status = path.stat()
        known = (str(path.resolve()), status.st_size, status.st_mtime_ns, status.st_ino)
        memory = cache / "files" / digest_of(known)
        with contextlib.suppress(OSError):
            return memory.read_text(encoding="ascii")
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        message = f"{path}: {error.strerror}."
        raise DataError(message) from None
    # A file written this very moment may be written again under the same time.
    if time.time() - status.st_mtime > _SETTLED_S:
        with contextlib.suppress(OSError):
            memory.parent.mkdir(parents=True, exist_ok=True)
            write_whole(memory, digest.encode())
    return digest


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Writes a file that is there with all its content, or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, waits: Callable[[], None]) -> Iterator[None]:
    """Lets one process at a time write to a folder; a process that ends, however, frees it.

    Args:
      path: the folder.
      waits: is called when another process has it.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_name(f"{path.name}.lock"))
    with writable(path):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            waits()
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def writable(where: Path) -> Iterator[None]:
    """Turns a disk that is full, or a folder that may not be written to, into a sentence."""
    try:
        yield
    except OSError as error:
        message = (
            f"{where}: cannot write the cache: {error.strerror or error}.{_free(where)} "
            "Make room, or name another folder: data.cache_dir, or the variable SMTRAIN_CACHE_DIR."
        )
        raise DataError(message) from error


def _free(where: Path) -> str:
    import shutil

    there = next((each for each in (where, *where.parents) if each.exists()), None)
    return "" if there is None else f" {shutil.disk_usage(there).free:,} bytes are free."
