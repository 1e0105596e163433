"""Reading the ends of files on a login node, as whoever follows a log does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from smtrain.plugin import Json
from smtrain_hyperpod.transport import session
from smtrain_hyperpod.transport.way import Way


def read(way: Way, offsets: Mapping[str, int], *, limit: int) -> Mapping[str, bytes]:
    """Returns what files hold from an offset on; those that are not there are left out.

    Args:
      way: to the login node.
      offsets: path → offset in bytes.
      limit: bytes of each file, at most.
    """
    if not offsets:
        return {}
    found: dict[str, bytes] = {}
    files: list[Json] = [[path, offset] for path, offset in offsets.items()]
    with session.order(way, {"verb": "read", "files": files, "limit": limit}) as there:
        for path in offsets:
            size = cast(int, there.answer()["size"])
            if size >= 0:
                found[path] = there.take(size)
    return found
