"""A folder as a store: a file system that the nodes share, such as FSx for Lustre."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from smtrain.agent.store import Bulk, StoredObject, StoreError, Transfer

_PARTIAL = ".smtrain-partial"


class Folder:
    """Copies files; each appears under its name only when it is whole."""

    name = "copying"

    def walk(self, prefix: str) -> tuple[StoredObject, ...]:
        """Returns every file below the prefix."""
        try:
            return tuple(_walk(prefix, local(prefix)))
        except OSError as error:
            raise StoreError(str(error)) from error

    def look(self, prefix: str) -> tuple[StoredObject, ...]:
        """Returns the files and folders whose path begins so."""
        head, _, start = prefix.rpartition("/")
        try:
            entries = sorted(local(f"{head}/").iterdir())
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise StoreError(str(error)) from error
        return tuple(
            StoredObject(uri=f"{head}/{path.name}/") if path.is_dir() else _object(f"{head}/{path.name}", path)
            for path in entries
            if path.name.startswith(start) and _PARTIAL not in path.name
        )

    def fetch(self, transfers: tuple[Transfer, ...], *, bulk: Bulk | None = None) -> tuple[str, ...]:
        """Copies files from the folder."""
        del bulk
        return tuple(filter(None, (_copy(local(item.uri), item.path) for item in transfers)))

    def put(self, transfers: tuple[Transfer, ...]) -> tuple[str, ...]:
        """Copies files into the folder."""
        return tuple(filter(None, (_copy(item.path, local(item.uri)) for item in transfers)))

    def delete(self, uris: tuple[str, ...]) -> None:
        """Deletes files, and the folders that this leaves empty."""
        try:
            for path in map(local, uris):
                path.unlink(missing_ok=True)
            for parent in sorted({local(uri).parent for uri in uris}, key=lambda path: len(path.parts), reverse=True):
                _remove_empty(parent)
        except OSError as error:
            raise StoreError(str(error)) from error


def local(uri: str) -> Path:
    """Returns the path of a file:// URI, or of a plain path."""
    return Path(uri.removeprefix("file://"))


def _walk(uri: str, folder: Path) -> Iterator[StoredObject]:
    with os.scandir(folder) if folder.is_dir() else _Nothing() as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir():
                yield from _walk(f"{uri}{entry.name}/", Path(entry.path))
            elif _PARTIAL not in entry.name:
                yield _object(f"{uri}{entry.name}", Path(entry.path))


class _Nothing:
    def __enter__(self) -> tuple[os.DirEntry[str], ...]:
        return ()

    def __exit__(self, *_: object) -> None:
        return None


def _object(uri: str, path: Path) -> StoredObject:
    found = path.stat()
    return StoredObject(uri=uri, size=found.st_size, etag=str(found.st_mtime_ns))


def _copy(source: Path, target: Path) -> str:
    partial = target.with_name(f"{target.name}{_PARTIAL}-{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(source, partial)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        return f"{source} to {target}: {error}"
    return ""


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return
