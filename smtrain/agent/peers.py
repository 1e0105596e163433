"""What the nodes of a run tell one another.

The first node listens, the others connect to it. There are three things to do: `exchange` (all meet, one decides, all
learn), `announce` (the first node tells the others), and `fail` (one ends all). A node that is silent, or whose
connection ends, has failed. A single node opens no socket.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from smtrain.agent.ending import AgentCode, Failure, Stopped
from smtrain.agent.plan import Json

_T = TypeVar("_T")
Decide = Callable[[dict[int, Json]], Json]


class Peers(Protocol):
    """The other nodes."""

    def exchange(self, tag: str, value: Json, decide: Decide, *, timeout_s: float | None = None) -> Json:
        """Waits until every node is here, and returns what the first node decides from the values by rank.

        With a timeout, a failure of another node does not end the waiting; None is returned when the time is over.

        Raises:
          Stopped: another node failed.
        """
        ...

    def announce(self, message: dict[str, Json]) -> None:
        """Tells the other nodes something; for the first node."""
        ...

    def fail(self, failure: Failure) -> Failure:
        """Ends the run on every node; returns the failure that was found to be the cause."""
        ...

    def close(self) -> None:
        """Ends the conversation."""
        ...


class Alone:
    """There are no other nodes."""

    def exchange(self, tag: str, value: Json, decide: Decide, *, timeout_s: float | None = None) -> Json:
        """Returns what the one node decides."""
        del tag, timeout_s
        return decide({0: value})

    def announce(self, message: dict[str, Json]) -> None:
        """Tells nobody."""

    def fail(self, failure: Failure) -> Failure:
        """Returns the failure."""
        return failure

    def close(self) -> None:
        """Does nothing."""


class Meetings:
    """The values that were brought to each exchange, and what was decided; waits and wakes."""

    def __init__(self) -> None:
        """Nothing was brought."""
        self._changed = threading.Condition()
        self._brought: dict[str, dict[int, Json]] = {}
        self._decided: dict[str, Json] = {}
        self._gone: set[int] = set()
        self.failure: Failure | None = None

    def bring(self, tag: str, rank: int, value: Json) -> None:
        """Notes a node's value."""
        with self._changed:
            self._brought.setdefault(tag, {})[rank] = value
            self._changed.notify_all()

    def leave(self, rank: int) -> None:
        """Notes that a node is gone, so that nobody waits for it."""
        with self._changed:
            self._gone.add(rank)
            self._changed.notify_all()

    def left(self, ranks: Iterable[int], timeout_s: float) -> None:
        """Waits until these nodes are gone, or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._gone >= set(ranks), timeout_s)

    def decide(self, tag: str, value: Json) -> None:
        """Notes a decision."""
        with self._changed:
            self._decided[tag] = value
            self._changed.notify_all()

    def fail(self, failure: Failure) -> None:
        """Notes the cause of all failures."""
        with self._changed:
            self.failure = self.failure or failure
            self._changed.notify_all()

    def brought(self, tag: str, nodes: int, timeout_s: float | None) -> dict[int, Json] | None:
        """Waits for the values of all nodes, with a timeout of all that are not gone; None when the time is over."""

        def found() -> dict[int, Json] | None:
            values = self._brought.get(tag, {})
            missed = self._gone if timeout_s is not None else set()
            return dict(values) if len(values.keys() | missed) == nodes else None

        return self._wait(found, timeout_s)

    def decided(self, tag: str, timeout_s: float | None) -> Json:
        """Waits for a decision; None when the time is over, with a timeout also when the first node is gone."""

        def found() -> tuple[Json] | None:
            if tag in self._decided:
                return (self._decided[tag],)
            return (None,) if self._gone and timeout_s is not None else None

        answer = self._wait(found, timeout_s)
        return answer[0] if answer else None

    def failed(self, timeout_s: float) -> Failure | None:
        """Waits for the cause; None when the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self.failure is not None, timeout_s)
            return self.failure

    def _wait(self, found: Callable[[], _T | None], timeout_s: float | None) -> _T | None:
        """With a timeout a failure is known already, and does not end the waiting."""
        with self._changed:
            self._changed.wait_for(
                lambda: found() is not None or (timeout_s is None and self.failure is not None), timeout_s
            )
            if timeout_s is None and self.failure is not None:
                raise Stopped(self.failure)
            return found()


def lost(node: int, host: str, why: str) -> Failure:
    """Returns the failure of a node that is gone."""
    return Failure(code=AgentCode.PEER_LOST, reason=f"node {node} is lost: {why}", node=node, host=host)


def to_json(failure: Failure) -> dict[str, Json]:
    """Returns a failure as a message."""
    return {
        "type": "failed",
        "code": failure.code,
        "reason": failure.reason,
        "node": failure.node,
        "host": failure.host,
        "details": list(failure.details),
    }


def from_json(message: dict[str, Json]) -> Failure:
    """Returns the failure of a message."""
    details = message.get("details")
    return Failure(
        code=int(str(message["code"])),
        reason=str(message["reason"]),
        node=int(str(message["node"])),
        host=str(message["host"]),
        details=tuple(map(str, details)) if isinstance(details, list) else (),
    )
