"""Checkpoints in the store: which there are, which of them are whole, putting, and pruning.

A checkpoint of N nodes is whole when N markers, `.smtrain/node-<rank>.json`, lie in it, all of one save, and every file
that they name has its size. Each node puts its marker last, so that whatever is interrupted is not whole.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from smtrain.agent import folders, transfers
from smtrain.agent.folders import File
from smtrain.agent.store import Store, StoredObject, Transfer

MARKERS = ".smtrain/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A checkpoint in the store.

    Attributes:
      name: of its folder.
      objects: all that lies there, relative path → object.
      files: what its markers name; None when it is not whole.
    """

    name: str
    objects: dict[str, StoredObject]
    files: tuple[File, ...] | None

    @property
    def whole(self) -> bool:
        """Whether every node has stored its part."""
        return self.files is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Marker:
    """What one node says of its part."""

    node: int
    nodes: int
    save: str
    files: tuple[File, ...]


class SavedCheckpoints:
    """The checkpoints of one output in the store."""

    def __init__(self, store: Store, prefix: str) -> None:
        """Looks at nothing yet.

        Args:
          store: where they are.
          prefix: URI of their folder, ending in "/".
        """
        self._store = store
        self._prefix = prefix

    def all(self) -> tuple[Saved, ...]:
        """Returns all of them, lowest number first."""
        by_name: dict[str, dict[str, StoredObject]] = {}
        for item in transfers.listing(self._store, self._prefix):
            name, slash, rest = item.uri[len(self._prefix) :].partition("/")
            if slash and rest:
                by_name.setdefault(name, {})[rest] = item
        names = sorted(by_name, key=lambda name: (folders.number(name), name))
        markers = self._markers(
            item for found in by_name.values() for path, item in found.items() if path.startswith(MARKERS)
        )
        return tuple(
            Saved(
                name=name,
                objects=by_name[name],
                files=_files(
                    by_name[name], [markers[item.uri] for item in by_name[name].values() if item.uri in markers]
                ),
            )
            for name in names
        )

    def newest_whole(self) -> Saved | None:
        """Returns the whole checkpoint of the highest number."""
        whole = [saved for saved in self.all() if saved.whole]
        return whole[-1] if whole else None

    def invalidate(self, name: str = "") -> None:
        """Takes the markers away, of one checkpoint or of all: what was stored before must not complete a new save."""
        prefix = f"{self._prefix}{name}/" if name else self._prefix
        found = transfers.listing(self._store, prefix)
        transfers.delete(self._store, tuple(item.uri for item in found if f"/{MARKERS}" in item.uri))

    def put(self, name: str, folder: Path, files: tuple[File, ...]) -> None:
        """Stores files of a checkpoint."""
        prefix = f"{self._prefix}{name}/"
        wanted = tuple(Transfer(uri=prefix + file.path, path=folder / file.path, size=file.size) for file in files)
        transfers.upload(self._store, wanted, prefix)

    def mark(self, name: str, files: tuple[File, ...], *, node: int, nodes: int, save: str) -> None:
        """Says that this node's part is stored."""
        rows = [{"path": file.path, "size": file.size} for file in files]
        marker = {"format": 1, "node": node, "num_nodes": nodes, "save": save, "files": rows}
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "marker.json"
            path.write_text(json.dumps(marker, sort_keys=True), encoding="utf-8")
            prefix = f"{self._prefix}{name}/{MARKERS}"
            wanted = Transfer(uri=f"{prefix}node-{node}.json", path=path, size=path.stat().st_size)
            transfers.upload(self._store, (wanted,), prefix)

    def withdraw(self, name: str, files: tuple[File, ...]) -> None:
        """Deletes files of a checkpoint that did not become whole."""
        transfers.delete(self._store, tuple(f"{self._prefix}{name}/{file.path}" for file in files))

    def prune(self, keep: int | None) -> tuple[str, tuple[str, ...]]:
        """Deletes the oldest whole ones beyond `keep`, and halves older than the newest whole one.

        Returns:
          The name of the newest whole one, "" when there is none; and the names of those deleted.
        """
        found = self.all()
        whole = [saved for saved in found if saved.whole]
        if not whole:
            return "", ()
        last = folders.number(whole[-1].name)
        old = {saved.name for saved in whole[: -max(keep, 1)]} if keep is not None else set()
        halves = {saved.name for saved in found if not saved.whole and folders.number(saved.name) < last}
        gone = tuple(saved for saved in found if saved.name in old | halves)
        for saved in gone:
            # The marker first: what a broken deletion leaves is then no whole checkpoint.
            markers = tuple(item.uri for path, item in saved.objects.items() if path.startswith(MARKERS))
            transfers.delete(self._store, markers)
            rest = tuple(item.uri for path, item in saved.objects.items() if not path.startswith(MARKERS))
            transfers.delete(self._store, rest)
        return whole[-1].name, tuple(saved.name for saved in gone)

    def fetch(self, name: str, files: tuple[File, ...], folder: Path) -> None:
        """Fetches the files of a checkpoint into a folder."""
        prefix = f"{self._prefix}{name}/"
        transfers.download(
            self._store,
            tuple(Transfer(uri=prefix + file.path, path=folder / file.path, size=file.size) for file in files),
        )

    def _markers(self, objects: Iterable[StoredObject]) -> dict[str, _Marker]:
        """Returns the markers by URI, without those that cannot be read."""
        with tempfile.TemporaryDirectory() as scratch:
            wanted = tuple(
                Transfer(uri=item.uri, path=Path(scratch) / str(index), size=item.size)
                for index, item in enumerate(objects)
            )
            transfers.download(self._store, wanted)
            read = {item.uri: _marker(item.path.read_bytes()) for item in wanted}
        return {uri: marker for uri, marker in read.items() if marker is not None}


def _marker(content: bytes) -> _Marker | None:
    try:
        found = json.loads(content)
        return _Marker(
            node=int(found["node"]),
            nodes=int(found["num_nodes"]),
            save=str(found["save"]),
            files=tuple(File(_inside(row["path"]), int(row["size"])) for row in found["files"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _inside(path: str) -> str:
    if {"", ".", ".."} & set(path.split("/")):
        raise ValueError(path)
    return path


def _files(objects: dict[str, StoredObject], markers: list[_Marker]) -> tuple[File, ...] | None:
    """Returns what the markers name, None when they make no whole checkpoint."""
    saves = {(marker.save, marker.nodes) for marker in markers}
    if len(saves) != 1 or {marker.node for marker in markers} != set(range(markers[0].nodes)):
        return None
    found = {file.path: file.size for marker in markers for file in marker.files}
    if any(path not in objects or objects[path].size != size for path, size in found.items()):
        return None
    return tuple(File(path, size) for path, size in sorted(found.items()))
