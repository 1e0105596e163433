"""Transfers that are believed only when names and sizes agree with a listing, and resumed until they do."""

from __future__ import annotations

import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from smtrain.agent.ending import AgentCode, AgentError, say
from smtrain.agent.store import Bulk, Store, StoredObject, StoreError, Transfer, Trouble, trouble

TRIES = 6
"""Rounds in a row that may bring nothing before a transfer is given up."""
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
_NAMES_SHOWN = 3
_T = TypeVar("_T")


def listing(store: Store, prefix: str) -> tuple[StoredObject, ...]:
    """Returns what is below a prefix, tried until the answer comes."""
    return _persistently(lambda: store.walk(prefix), prefix, "s3:ListBucket")


def looking(store: Store, prefix: str) -> tuple[StoredObject, ...]:
    """Returns what begins so, up to the next "/", tried until the answer comes."""
    return _persistently(lambda: store.look(prefix), prefix, "s3:ListBucket")


def download(store: Store, wanted: tuple[Transfer, ...], bulk: Bulk | None = None) -> None:
    """Fetches what is not there yet with its size.

    Args:
      store: where from.
      wanted: the objects, with their sizes.
      bulk: if they are all that is below a prefix.

    Raises:
      AgentError: it cannot be done: no room, no permission, or `TRIES` rounds brought nothing.
    """
    for folder in {item.path.parent for item in wanted}:
        folder.mkdir(parents=True, exist_ok=True)

    def lacking() -> tuple[Transfer, ...]:
        return tuple(item for item in wanted if size_of(item.path) != item.size)

    def fetch(missing: tuple[Transfer, ...]) -> tuple[str, ...]:
        _check_room(missing)
        return store.fetch(missing, bulk=bulk if missing == wanted else None)

    _rounds(lacking, fetch, verb="fetch", permission="s3:GetObject")


def upload(store: Store, wanted: tuple[Transfer, ...], prefix: str) -> None:
    """Stores files, all of them below a prefix, until a listing has each with its size.

    Raises:
      AgentError: it cannot be done.
    """
    # What lies there already may be of an earlier try, with the same size: each file must be sent once at least.
    sent: set[str] = set()

    def lacking() -> tuple[Transfer, ...]:
        there = {item.uri: item.size for item in listing(store, prefix)} if sent else {}
        return tuple(item for item in wanted if there.get(item.uri) != item.size or item.uri not in sent)

    def put(missing: tuple[Transfer, ...]) -> tuple[str, ...]:
        for item in missing:
            if size_of(item.path) != item.size:
                raise AgentError(AgentCode.TRANSFER, f"{item.path} changed or vanished while it was being stored")
        errors = store.put(missing)
        refused = {item.uri for item in missing if any(item.uri in text for text in errors)}
        if refused or not errors:
            sent.update({item.uri for item in missing} - refused)
        return errors

    _rounds(lacking, put, verb="store", permission="s3:PutObject")


def delete(store: Store, uris: tuple[str, ...]) -> None:
    """Deletes objects.

    Raises:
      AgentError: it cannot be done.
    """
    if uris:
        _persistently(lambda: store.delete(uris), uris[0], "s3:DeleteObject")


def size_of(path: Path) -> int | None:
    """Returns the size of a file; None when there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _rounds(
    lacking: Callable[[], tuple[Transfer, ...]],
    transfer: Callable[[tuple[Transfer, ...]], tuple[str, ...]],
    *,
    verb: str,
    permission: str,
) -> None:
    missing, in_vain = lacking(), 0
    while missing:
        errors = transfer(missing)
        _refuse(errors, missing[0].uri, permission)
        left = lacking()
        in_vain = 0 if len(left) < len(missing) else in_vain + 1
        if left and in_vain == TRIES:
            raise AgentError(AgentCode.TRANSFER, _given_up(verb, left, errors))
        if left:
            why = errors[0] if errors else "no error told"
            say(f"{len(left)} of {len(missing)} objects are still to {verb} ({why})")
            _pause(in_vain)
        missing = left


def _given_up(verb: str, left: tuple[Transfer, ...], errors: tuple[str, ...]) -> str:
    names = ", ".join(item.uri for item in left[:_NAMES_SHOWN]) + (", …" if len(left) > _NAMES_SHOWN else "")
    last = f": {errors[0]}" if errors else ""
    return f"could not {verb} {len(left)} objects in {TRIES} tries ({names}){last}"


def _persistently(ask: Callable[[], _T], uri: str, permission: str) -> _T:
    for in_vain in range(1, TRIES + 1):
        try:
            return ask()
        except StoreError as error:
            _refuse((str(error),), uri, permission)
            if in_vain == TRIES:
                raise AgentError(AgentCode.TRANSFER, f"{uri}: {error}") from error
            say(f"{uri}: {error}; trying again")
            _pause(in_vain)
    raise AssertionError


def _refuse(errors: tuple[str, ...], uri: str, permission: str) -> None:
    """Raises for what no further try would mend."""
    for text in errors:
        match trouble(text):
            case Trouble.DENIED:
                reason = (
                    f"access to {uri} is denied: the role needs {permission} there (and kms:Decrypt if it is encrypted)"
                )
                raise AgentError(AgentCode.DENIED, f"{reason}: {text}")
            case Trouble.NO_CREDENTIALS:
                raise AgentError(AgentCode.DENIED, f"there are no credentials that {uri} accepts: {text}")
            case Trouble.NO_BUCKET:
                raise AgentError(AgentCode.NO_INPUT, f"there is no bucket {'/'.join(uri.split('/')[:3])}: {text}")
            case Trouble.ARCHIVED:
                raise AgentError(AgentCode.NO_INPUT, f"{uri} is archived and must be restored first: {text}")
            case Trouble.DISK_FULL:
                raise AgentError(AgentCode.DISK_FULL, f"the disk became full: {text}")
            case Trouble.PASSING:
                continue


def _check_room(missing: tuple[Transfer, ...]) -> None:
    folder = missing[0].path.parent
    needed, free = sum(item.size for item in missing), shutil.disk_usage(folder).free
    if needed > free:
        reason = f"{len(missing)} objects of {_gib(needed)} GiB do not fit on {folder}, which has {_gib(free)} GiB free"
        raise AgentError(AgentCode.DISK_FULL, f"{reason}: {missing[0].uri}")


def _gib(size: int) -> str:
    return f"{size / 2**30:.3g}"


def _pause(in_vain: int) -> None:
    import random  # costly, and hardly ever needed

    # Jitter, or a hundred nodes that were throttled together come back together.
    longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**in_vain)
    time.sleep(random.uniform(longest / 2, longest))
