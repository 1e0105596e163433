"""Which checkpoints in S3 are whole, by the markers that the agent leaves in them (`smtrain.agent.saved`).

A checkpoint of N nodes is whole when N markers `.smtrain/node-<rank>.json` lie in it, all of one save, and every file
that they name is there in its size.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import cast

from smtrain.aws.objects import Found
from smtrain.spec import Json

MARKERS = ".smtrain"
"""Folder in a checkpoint for the agent's own words."""

DEPTH = 2
"""Levels below the folder of checkpoints: <output>/<checkpoint>."""

Marker = Mapping[str, Json]


def whole(found: Iterable[Found], read: Callable[[Found], bytes]) -> Iterator[Found]:
    """Yields the files of the checkpoints that are whole.

    Args:
      found: all objects below the folder of checkpoints.
      read: returns the content of an object.
    """
    checkpoints: dict[tuple[str, ...], dict[str, Found]] = defaultdict(dict)
    for each in found:
        parts = PurePosixPath(each.path).parts
        checkpoints[parts[:DEPTH]]["/".join(parts[DEPTH:])] = each
    for files in checkpoints.values():
        markers = [each for path, each in files.items() if path.startswith(f"{MARKERS}/")]
        named = _named(tuple(_parsed(map(read, markers))), {path: each.size for path, each in files.items()})
        yield from (files[path] for path in named)


def _parsed(texts: Iterable[bytes]) -> Iterator[Marker]:
    for text in texts:
        try:
            marker = json.loads(text)
        except ValueError:
            continue
        if isinstance(marker, dict):
            yield marker


def _named(markers: tuple[Marker, ...], sizes: Mapping[str, int]) -> tuple[str, ...]:
    """Returns the files that the markers name; none where something is missing."""
    saves = {(str(marker.get("save")), marker.get("num_nodes")) for marker in markers}
    if len(saves) != 1:
        return ()
    ((_, nodes),) = saves
    if not isinstance(nodes, int) or {marker.get("node") for marker in markers} != set(range(nodes)):
        return ()
    try:
        rows = [row for marker in markers for row in cast("list[dict[str, Json]]", marker["files"])]
        wanted = {str(row["path"]): row["size"] for row in rows}
    except (KeyError, TypeError):
        return ()
    return tuple(wanted) if all(sizes.get(path) == size for path, size in wanted.items()) else ()
