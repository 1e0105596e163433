"""Brings the inputs to this node's scratch disk."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from smtrain.agent.ending import AgentCode, AgentError, files_of, say
from smtrain.agent.plan import PlannedInput
from smtrain.agent.store import Bulk, Store, StoredObject, Transfer
from smtrain.agent.stores import Stores
from smtrain.agent.transfers import download, listing, looking, size_of

_NAMES_SHOWN = 5
_LONGEST_NAME = 255  # bytes, of every file system in question


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What an input's URI names: the objects, and the prefix (ends in "/") that their names follow."""

    prefix: str
    objects: tuple[StoredObject, ...]
    is_file: bool


def stage(inputs: Iterable[PlannedInput], stores: Stores, scratch: Path) -> dict[str, str]:
    """Fetches the inputs that are not here yet.

    Args:
      inputs: what to fetch.
      stores: where from.
      scratch: each comes to `inputs/<name>` in there.

    Returns:
      Variable → path, of each input.

    Raises:
      AgentError: an input is not there, or cannot be fetched.
    """
    return {item.variable: str(_staged(item, stores.of(item.uri), scratch / "inputs")) for item in inputs}


def _staged(item: PlannedInput, store: Store, folder: Path) -> Path:
    began = time.monotonic()
    found = _find(item, store)
    place = folder / item.name
    transfers = tuple(
        Transfer(uri=one.uri, path=place / one.uri[len(found.prefix) :], size=one.size) for one in found.objects
    )
    _check_names(tuple(one.uri[len(found.prefix) :] for one in found.objects), item.uri)
    _discard_stale(transfers, found.objects, place, record=folder / f".{item.name}.json")
    download(store, transfers, None if found.is_file else Bulk(prefix=found.prefix, folder=place))
    seconds, size = time.monotonic() - began, sum(one.size for one in found.objects)
    say(f"input {item.name}: {files_of(len(transfers))}, {size / 1e6:.0f} MB, {seconds:.2f} s from {item.uri}")
    return transfers[0].path if found.is_file else place


def _find(item: PlannedInput, store: Store) -> _Found:
    uri = item.uri.removesuffix("*") if item.uri.endswith("/*") else item.uri
    prefix = uri.rstrip("/") + "/"
    # Each look takes a process, and nearly every URI is of a folder.
    below = () if item.file else listing(store, prefix)
    if not below and not uri.endswith("/") and item.file is not False:
        exact = tuple(one for one in looking(store, uri) if one.uri == uri)
        if exact:
            return _Found(prefix=uri[: uri.rindex("/") + 1], objects=exact, is_file=True)
        below = listing(store, prefix) if item.file else below
    # Consoles make objects of no bytes whose keys end in "/", to show an empty folder.
    objects = tuple(one for one in below if not one.uri.endswith("/"))
    if not objects:
        raise AgentError(AgentCode.NO_INPUT, f"input {item.name}: there is nothing at {item.uri}", _near(uri, store))
    if item.file:
        reason = f"input {item.name}: {item.uri} is a folder of {len(objects)} objects, and one file is wanted"
        raise AgentError(AgentCode.NO_INPUT, reason)
    return _Found(prefix=prefix, objects=objects, is_file=False)


def _near(uri: str, store: Store) -> str:
    """Returns what there is instead, beside the missing name or, when that is nothing too, further up."""
    import difflib  # costly, and hardly ever needed

    missing = uri.rstrip("/")
    while missing.count("/") > _SLASHES_OF_A_BUCKET:
        parent, _, name = missing.rpartition("/")
        names = sorted(one.uri[len(parent) + 1 :] for one in looking(store, f"{parent}/"))
        if names:
            close = difflib.get_close_matches(name, names, n=_NAMES_SHOWN, cutoff=0.4) or names[:_NAMES_SHOWN]
            return f"{parent}/ has {', '.join(close)}{', …' if len(names) > len(close) else ''}"
        missing = parent
    return f"{missing}/ is empty"


_SLASHES_OF_A_BUCKET = 2


def _check_names(names: tuple[str, ...], uri: str) -> None:
    """Refuses keys that are no file names: S3 allows what would leave the folder, or be a file and a folder at once."""
    folders = {folder for name in names for folder in _folders_of(name)}
    for name in names:
        parts = name.split("/")
        if {"", ".", ".."} & set(parts) or "\0" in name:
            raise AgentError(AgentCode.NO_INPUT, f"{uri} has an object {name!r}, which is no file name; remove it")
        if max(len(part.encode(errors="surrogateescape")) for part in parts) > _LONGEST_NAME:
            raise AgentError(AgentCode.NO_INPUT, f"{uri} has an object {name!r}, too long for a file name; rename it")
        if name in folders:
            reason = f"{uri} has an object {name!r}, and objects below {name + '/'!r}; a file cannot be a folder too"
            raise AgentError(AgentCode.NO_INPUT, reason)


def _folders_of(name: str) -> Iterable[str]:
    for index, character in enumerate(name):
        if character == "/":
            yield name[:index]


def _discard_stale(
    transfers: tuple[Transfer, ...], objects: tuple[StoredObject, ...], place: Path, *, record: Path
) -> None:
    """Removes what an earlier try left that is not, or not certainly, what is wanted now.

    A killed transfer leaves files under names of its own, and an object may have changed since and kept its size; so
    the record says which version of each object was being fetched.
    """
    place.mkdir(parents=True, exist_ok=True)
    wanted = {transfer.path: one for transfer, one in zip(transfers, objects, strict=True)}
    earlier = _recorded(record)
    for path in sorted(place.rglob("*")):
        one = wanted.get(path)
        if path.is_dir() and not path.is_symlink():
            continue
        if one is None or earlier.get(one.uri) != one.etag or size_of(path) != one.size:
            path.unlink()
    record.write_text(json.dumps({one.uri: one.etag for one in objects}), encoding="utf-8")


def _recorded(record: Path) -> dict[str, str]:
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
