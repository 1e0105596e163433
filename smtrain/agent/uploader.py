"""Uploads checkpoints while the program runs, each when it is whole and nothing in it changes any more.

The first node finds them, since it is there that the program writes the file that makes one complete; it tells the
others, which upload what they alone have.
"""

from __future__ import annotations

import queue
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from smtrain.agent import folders
from smtrain.agent.channel import Message
from smtrain.agent.ending import AgentError, files_of, say
from smtrain.agent.folders import File
from smtrain.agent.plan import PlannedOutput
from smtrain.agent.saved import SavedCheckpoints

QUIET_S = 2.0
"""Seconds in which nothing in a checkpoint may have changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An output with checkpoints: here, and in the store."""

    output: PlannedOutput
    folder: Path
    saved: SavedCheckpoints


class Quiet:
    """Tells whether a folder has stopped changing."""

    def __init__(self) -> None:
        """Nothing was seen."""
        self._seen: dict[Path, tuple[tuple[File, ...], float]] = {}

    def files(self, folder: Path, *, last: bool) -> tuple[File, ...] | None:
        """Returns its files if they have not changed for `QUIET_S`, or nobody can change them; None otherwise."""
        found = folders.files(folder)
        if found is None or last:
            return found
        before, since = self._seen.get(folder, (None, 0.0))
        if before != found:
            self._seen[folder] = (found, time.monotonic())
            return None
        return found if time.monotonic() - since >= QUIET_S else None


class FirstNode:
    """Finds whole checkpoints, uploads its part, tells the others, and prunes."""

    def __init__(
        self, kept: Iterable[Kept], *, nodes: int, announce: _Announce, done: Iterable[tuple[str, str]]
    ) -> None:
        """Uploads nothing yet.

        Args:
          kept: the outputs with checkpoints.
          nodes: how many there are.
          announce: tells the other nodes.
          done: (output, checkpoint) of those that are in the store.
        """
        self._kept = tuple(kept)
        self._nodes = nodes
        self._announce = announce
        self._done = set(done)
        self._quiet = Quiet()
        self._to_prune: dict[str, str] = {}

    def look(self, *, last: bool) -> bool:
        """Uploads what is whole; returns whether something is about to be."""
        soon = [self._look(kept, last=last) for kept in self._kept]
        return any(soon)

    def _look(self, kept: Kept, *, last: bool) -> bool:
        soon = False
        for folder in self._whole(kept):
            files = self._quiet.files(folder, last=last)
            if files is None:
                soon = True
            else:
                self._upload(kept, folder, files)
        if kept.output.name in self._to_prune:
            self._prune(kept)
        return soon

    def _whole(self, kept: Kept) -> tuple[Path, ...]:
        """Returns the new ones, of which those are left out that would be pruned at once."""
        new = [
            folder
            for folder in folders.checkpoints(kept.output, kept.folder)
            if (kept.output.name, folder.name) not in self._done and (folder / kept.output.checkpoint_complete).exists()
        ]
        return tuple(new if kept.output.keep is None else new[-max(kept.output.keep, 1) :])

    def _upload(self, kept: Kept, folder: Path, files: tuple[File, ...]) -> None:
        began, name, save = time.monotonic(), folder.name, secrets.token_hex(8)
        try:
            kept.saved.invalidate(name)
            paths = [file.path for file in files]
            self._announce(
                {"type": "save", "output": kept.output.name, "name": name, "save": save, "paths": list(paths)}
            )
            if _put(kept, name, folder, files):
                kept.saved.mark(name, files, node=0, nodes=self._nodes, save=save)
                self._done.add((kept.output.name, name))
                self._to_prune[kept.output.name] = name
                size = sum(file.size for file in files)
                say(f"uploaded {name}: {files_of(len(files))}, {size / 1e6:.0f} MB in {time.monotonic() - began:.1f} s")
        except AgentError as error:
            say(f"{name} could not be uploaded, and is tried again: {error.reason}")

    def _prune(self, kept: Kept) -> None:
        try:
            newest, gone = kept.saved.prune(kept.output.keep)
        except AgentError as error:
            say(f"old checkpoints could not be removed: {error.reason}")
            return
        # Until the other nodes have stored their parts, the last upload is not whole, and an older one is still needed.
        if newest == self._to_prune[kept.output.name]:
            del self._to_prune[kept.output.name]
        if gone:
            say(f"removed {', '.join(gone)} from the store")


class OtherNode:
    """Uploads its part of the checkpoints that the first node announces."""

    def __init__(self, kept: Iterable[Kept], *, rank: int, nodes: int, announced: queue.SimpleQueue[Message]) -> None:
        """Takes up nothing yet.

        Args:
          kept: the outputs with checkpoints.
          rank: of this node.
          nodes: how many there are.
          announced: what the first node says, as it comes.
        """
        self._kept = {one.output.name: one for one in kept}
        self._rank = rank
        self._nodes = nodes
        self._announced = announced
        self._waiting: list[Message] = []
        self._quiet = Quiet()

    def look(self, *, last: bool) -> bool:
        """Uploads this node's part of what was announced; returns whether something is waiting."""
        while not self._announced.empty():
            self._waiting.append(self._announced.get())
        self._waiting = [message for message in self._waiting if not self._upload(message, last=last)]
        return bool(self._waiting)

    def _upload(self, message: Message, *, last: bool) -> bool:
        """Returns whether there is nothing more to do about it."""
        kept, name = self._kept[str(message["output"])], str(message["name"])
        folder = kept.folder / name
        found = self._quiet.files(folder, last=last) if folder.is_dir() else ()
        if found is None:
            return last
        paths = message["paths"]
        elsewhere = set(map(str, paths)) if isinstance(paths, list) else set()
        files = tuple(file for file in found if file.path not in elsewhere)
        try:
            if _put(kept, name, folder, files):
                kept.saved.mark(name, files, node=self._rank, nodes=self._nodes, save=str(message["save"]))
                say(f"uploaded this node's part of {name}: {files_of(len(files))}")
        except AgentError as error:
            say(f"this node's part of {name} could not be uploaded: {error.reason}")
        return True


def _put(kept: Kept, name: str, folder: Path, files: tuple[File, ...]) -> bool:
    """Stores files; returns False, and takes them back, when they changed or vanished meanwhile."""
    try:
        kept.saved.put(name, folder, files)
    except AgentError:
        if _unchanged(folder, files):
            raise
    if _unchanged(folder, files):
        return True
    say(f"{name} changed while it was being uploaded; it is left out")
    kept.saved.withdraw(name, files)
    return False


def _unchanged(folder: Path, files: tuple[File, ...]) -> bool:
    found = {file.path: file for file in folders.files(folder) or ()}
    return all(found.get(file.path) == file for file in files)


class _Announce(Protocol):
    def __call__(self, message: Message, /) -> None: ...
