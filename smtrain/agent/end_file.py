"""A file that ends the run once it is there, for targets whose signals reach every process and not the agent alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from smtrain.agent.ending import Failure
from smtrain.agent.node import Node

LOOK_S = 1.0
"""Seconds between two looks."""
_STOPPED = 143


def watch(environment: Mapping[str, str], node: Node, on_found: Callable[[Failure], None]) -> None:
    """Looks for the file that SMTRAIN_END_FILE names, if it names one, until it is there or the agent ends.

    Its content is `EXIT_CODE REASON`.

    Args:
      environment: of the agent.
      node: this node.
      on_found: told once, in a thread of this.
    """
    place = environment.get("SMTRAIN_END_FILE")
    if place:
        threading.Thread(target=_watch, args=(Path(place), node, on_found), daemon=True).start()


def _watch(path: Path, node: Node, on_found: Callable[[Failure], None]) -> None:
    pause = threading.Event()
    while (content := _read(path)) is None:
        pause.wait(LOOK_S)
    code, _, reason = content.strip().partition(" ")
    on_found(
        Failure(
            code=int(code) if code.isdecimal() else _STOPPED,
            reason=reason or "stopped on request",
            node=node.rank,
            host=node.host,
        )
    )


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
