"""Emit: `Bundle` → a directory with a manifest. The only writer of the compiler."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from smtrain.errors import ExitCode, SmtrainError, fail
from smtrain.manifest import MANIFEST, Manifest, read, render
from smtrain.spec import Bundle, BundleFile, LocalFile


def emit(bundle: Bundle, manifest: Manifest, folder: Path, *, store: Path) -> Path:
    """Writes the bundle, whole or not at all, and returns its folder.

    A folder that already holds this very bundle is left as it is. Local files are taken into `store` once, by digest,
    and linked from there, so that a sweep over one data file keeps one copy of it.

    Raises:
      SmtrainError: the folder cannot be written.
    """
    text = render(manifest)
    try:
        if _is_there(folder, text):
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".emit-", dir=folder.parent) as scratch:
            fresh = Path(scratch) / "bundle"
            fresh.mkdir()
            for file in bundle.files:
                _write(file, fresh / file.path, store)
            (fresh / MANIFEST).write_text(text, encoding="utf-8")
            if folder.exists():
                shutil.rmtree(folder)
            fresh.rename(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            folder.parent.rmdir()  # where nothing but this bundle was to be; any other run's folder is not empty
        what = f"Cannot write the bundle to `{folder}`: {error.strerror or error}."
        raise fail(
            what, "Choose another place: runs_dir=FOLDER.", key="runs_dir", code=ExitCode.MISSING_HERE
        ) from error
    return folder


def _is_there(folder: Path, text: str) -> bool:
    """Whether the folder holds this very bundle, and nobody has changed it since."""
    path = folder / MANIFEST
    if not path.is_file() or path.read_bytes() != text.encode():
        return False
    try:
        read(folder)
    except SmtrainError:
        return False
    return True


def _write(file: BundleFile, path: Path, store: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(file.content, LocalFile):
        _link(_stored(file.content, store), path)
    else:
        path.write_bytes(file.content)
        path.chmod(0o755 if file.executable else 0o644)


def _stored(file: LocalFile, store: Path) -> Path:
    kept = store / file.sha256
    if not kept.exists() or _digest(kept) != file.sha256:
        store.mkdir(parents=True, exist_ok=True)
        partial = store / f".{file.sha256}.{os.getpid()}"
        try:
            shutil.copyfile(file.path, partial)
            partial.chmod(0o444)
            partial.rename(kept)
        finally:
            partial.unlink(missing_ok=True)
    return kept


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _link(kept: Path, path: Path) -> None:
    try:
        path.hardlink_to(kept)
    except OSError:  # a file system without hard links
        shutil.copyfile(kept, path)
