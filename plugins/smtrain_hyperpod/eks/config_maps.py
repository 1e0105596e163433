"""ConfigMaps: how the files of a run come into its pods.

A ConfigMap holds at most 1 MiB, under keys that are no paths. So every file has a key, a projected volume puts it back
at its path, and what is large is cut into pieces of one ConfigMap each. Those that other runs have as well are named by
their content, and are there once. `kubectl apply --server-side` sends them: without that flag a copy of each would
have to fit into an annotation, which holds 256 KiB.

Source: kubernetes.io/docs/concepts/configuration/configmap, and reference/using-api/server-side-apply.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from smtrain.plugin import RUN_ID, BundleFile, Json
from smtrain_hyperpod.eks import archive

LARGEST = 768 * 1024
"""Bytes in one ConfigMap: of the 1 MiB of its limit, a quarter is left for keys and for what others write there."""

MOST_PIECES = 16
"""ConfigMaps of one archive: 12 MiB in all, since the cluster's database is no place for data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file.

    Attributes:
      key: in the ConfigMap.
      file: in the bundle.
      path: in the pods, below the folder of the bundle.
    """

    key: str
    file: BundleFile
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigMap:
    """Files of one ConfigMap, and its name."""

    name: str
    entries: tuple[Entry, ...]

    @property
    def source(self) -> dict[str, Json]:
        """The part of a projected volume that puts the files at their paths."""
        items: list[Json] = [{"key": entry.key, "path": entry.path} for entry in self.entries]
        return {"configMap": {"name": self.name, "items": items}}

    @property
    def generator(self) -> dict[str, Json]:
        """What has kustomize make the ConfigMap from the files of the bundle."""
        return {"name": self.name, "files": [f"{entry.key}={entry.file.path}" for entry in self.entries]}


def of_run(files: Iterable[BundleFile]) -> tuple[ConfigMap, ...]:
    """Returns the ConfigMaps of this run alone, which can be read as they are."""
    maps: list[ConfigMap] = []
    entries: list[Entry] = []
    used = 0
    for file in files:
        if entries and used + archive.size(file) > LARGEST:
            maps.append(_numbered(maps, entries))
            entries, used = [], 0
        entries.append(Entry(key=key_of(file.path), file=file, path=file.path))
        used += archive.size(file)
    return (*maps, _numbered(maps, entries))


def of_archive(label: str, packed: bytes) -> tuple[ConfigMap, ...]:
    """Returns the ConfigMaps of an archive, named by its content: one, or one a piece."""
    name, pieces = f"smtrain-{label}-{archive.digest(packed)}", tuple(_pieces(packed))
    if len(pieces) == 1:
        return (_single(name, f"{label}.zip", packed),)
    return tuple(
        _single(f"{name}-{number:02}", f"{label}.zip.{number:02}", piece) for number, piece in enumerate(pieces)
    )


def key_of(path: str) -> str:
    """Returns a key for a path; different paths have different keys.

    Keys are letters, digits, `-`, `_` and `.`, and kustomize reads `=` as the end of one.
    """
    readable = re.sub(r"[^A-Za-z0-9._-]", "_", path.replace("/", "__"))
    if re.fullmatch(r"[A-Za-z0-9-][A-Za-z0-9._-]*(/[A-Za-z0-9-][A-Za-z0-9._-]*)*", path) and "__" not in path:
        return readable
    return f"{archive.digest(path.encode())}-{readable[-100:]}"


def _numbered(maps: list[ConfigMap], entries: list[Entry]) -> ConfigMap:
    return ConfigMap(name=f"{RUN_ID}-{len(maps) + 1}" if maps else RUN_ID, entries=tuple(entries))


def _single(name: str, path: str, content: bytes) -> ConfigMap:
    file = BundleFile(path=path, content=content)
    return ConfigMap(name=name, entries=(Entry(key=path, file=file, path=path),))


def _pieces(packed: bytes) -> Iterator[bytes]:
    for start in range(0, max(len(packed), 1), LARGEST):
        yield packed[start : start + LARGEST]
