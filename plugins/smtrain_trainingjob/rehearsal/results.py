"""What a job leaves behind: the archives of its results, and checkpoints kept in step while it runs."""

from __future__ import annotations

import shutil
import tarfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from smtrain_trainingjob.rehearsal.channel import TransferFailed

Kind = Literal["model", "output"]

Store = Callable[[Kind, Path], None]
"""Keeps a result: a `.tar.gz` file, or a folder when the request wants none. Raises TransferFailed."""


class Checkpoints(Protocol):
    """What CheckpointConfig.S3Uri stands for."""

    def restore(self, folder: Path) -> None:
        """Fetches what is there into a host's local path. Raises TransferFailed."""
        ...

    def sync(self, folder: Path) -> None:
        """Stores what is new or changed in a host's local path; files may be being written. Raises TransferFailed."""
        ...


@dataclass(frozen=True, slots=True)
class CheckpointFolder:
    """Checkpoints kept in a folder of this machine."""

    folder: Path

    def restore(self, folder: Path) -> None:
        """Copies everything."""
        if self.folder.is_dir():
            shutil.copytree(self.folder, folder, dirs_exist_ok=True)

    def sync(self, folder: Path) -> None:
        """Copies files whose size or time differ; what was deleted stays, as in S3."""
        for path in sorted(folder.rglob("*")):
            target = self.folder / path.relative_to(folder)
            try:
                if path.is_file() and not _same(path, target):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(path, target)
            except FileNotFoundError:
                continue  # deleted or renamed in the meantime


@dataclass(slots=True, kw_only=True)
class Syncing:
    """Keeps checkpoints in step, in a thread, until it is left."""

    checkpoints: Checkpoints
    folders: tuple[Path, ...]
    every_s: float
    _done: threading.Event = field(default_factory=threading.Event, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)

    def start(self) -> None:
        """Starts the thread."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Ends the thread and stores what is there now. Raises TransferFailed."""
        self._done.set()
        if self._thread is not None:
            self._thread.join()
        for folder in self.folders:
            self.checkpoints.sync(folder)

    def _run(self) -> None:
        while not self._done.wait(self.every_s):
            try:
                for folder in self.folders:
                    self.checkpoints.sync(folder)
            except TransferFailed:
                continue  # tried again, and for good when the job ends


def collect(folders: tuple[Path, ...], into: Path, *, compress: bool) -> Path | None:
    """Returns one folder or archive with the files of all hosts; where two have one, the first host's counts.

    Args:
      folders: the same folder of every host, the first host first.
      into: where the result lies, without suffix.
      compress: whether it is an archive, `into` with `.tar.gz`.

    Returns:
      None when there is no file at all.
    """
    files = {str(path.relative_to(folder)): path for folder in reversed(folders) for path in sorted(folder.rglob("*"))}
    if not any(path.is_file() for path in files.values()):
        return None
    if not compress:
        for folder in reversed(folders):
            shutil.copytree(folder, into, dirs_exist_ok=True)
        return into
    archive = into.with_name(f"{into.name}.tar.gz")
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        for name, path in sorted(files.items()):
            tar.add(path, arcname=name, recursive=False)
    return archive


def _same(path: Path, target: Path) -> bool:
    if not target.exists():
        return False
    ours, theirs = path.stat(), target.stat()
    return (ours.st_size, ours.st_mtime_ns) == (theirs.st_size, theirs.st_mtime_ns)
