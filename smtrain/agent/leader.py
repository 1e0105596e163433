"""The first node's end of the conversation: it listens, gathers, decides, and tells."""

from __future__ import annotations

import contextlib
import hmac
import socket
import threading
import time
from collections.abc import Callable

from smtrain.agent.channel import Channel, Message
from smtrain.agent.ending import AgentCode, AgentError, Failure, say
from smtrain.agent.failure import is_consequence
from smtrain.agent.peers import Decide, Meetings, from_json, lost, to_json
from smtrain.agent.plan import Control, Json

_GREETING_S = 10.0
_LONGEST_GREETING = 4096
_LINGER_S = 120.0
_LINGER_STEP_S = 0.1
_LEAVE_S = 5.0


class Leader:
    """Listens for the other nodes until all are here."""

    def __init__(
        self, *, nodes: int, host: str, port: int, token: str, control: Control, on_failure: Callable[[Failure], None]
    ) -> None:
        """Begins to listen.

        Args:
          nodes: how many there are, with this one.
          host: name of this one.
          port: to listen on.
          token: known to the nodes of this run alone.
          control: times.
          on_failure: told the cause, once, in a thread of this.

        Raises:
          AgentError: the port is taken.
        """
        self._nodes = nodes
        self._token = token
        self._control = control
        self._on_failure = on_failure
        self._meetings = Meetings()
        self._lock = threading.Lock()
        self._members: dict[int, Channel] = {}
        self._hosts = {0: host}
        self._failures: list[Failure] = []
        self._closing = threading.Event()
        try:
            self._listener = socket.create_server(("", port), backlog=nodes)
        except OSError as error:
            reason = f"the agent cannot listen on port {port}: {error.strerror}"
            raise AgentError(AgentCode.BAD_PLAN, reason) from error
        for work in (self._accept, self._beat, self._await_members):
            threading.Thread(target=work, daemon=True).start()

    def exchange(self, tag: str, value: Json, decide: Decide, *, timeout_s: float | None = None) -> Json:
        """Waits for the values of all nodes, decides, and tells the decision."""
        self._meetings.bring(tag, 0, value)
        values = self._meetings.brought(tag, self._nodes, timeout_s)
        if values is None:
            return None
        decision = decide(values)
        self.announce({"type": "decided", "tag": tag, "value": decision})
        return decision

    def announce(self, message: Message) -> None:
        """Tells the other nodes something; one that cannot be told is found lost by its reader."""
        with self._lock:
            members = tuple(self._members.values())
        for member in members:
            with contextlib.suppress(OSError):
                member.send(message)

    def fail(self, failure: Failure) -> Failure:
        """Ends the run on every node, when others have had the time to turn out to be the cause."""
        self._note(failure)
        # The settling thread answers; the margin is for a machine that is slow.
        return self._meetings.failed(self._control.settle_s + 10) or failure

    def close(self) -> None:
        """Ends the conversation; after a failure, when those that come late have heard of it too."""
        deadline = time.monotonic() + min(_LINGER_S, self._control.connect_s)
        while self._meetings.failure is not None and time.monotonic() < deadline:
            with self._lock:
                if len(self._hosts) == self._nodes:
                    break
            time.sleep(_LINGER_STEP_S)
        self._closing.set()
        self._listener.close()
        # A connection that is closed with something unread takes with it what the other end has not read yet.
        self._meetings.left(self._members.keys(), _LEAVE_S)
        with self._lock:
            for member in self._members.values():
                member.close()

    def _note(self, failure: Failure) -> None:
        with self._lock:
            self._failures.append(failure)
            first = len(self._failures) == 1
        if first:
            threading.Thread(target=self._settle, daemon=True).start()

    def _settle(self) -> None:
        """Finds the cause: when one process of a training dies, those of other nodes may report its absence first."""
        time.sleep(self._control.settle_s)
        with self._lock:
            causes = [failure for failure in self._failures if not is_consequence(failure)]
            cause = (causes or self._failures)[0]
        self._meetings.fail(cause)
        self.announce(to_json(cause))
        self._on_failure(cause)

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, (address, *_) = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._greet, args=(connection, str(address)), daemon=True).start()

    def _greet(self, connection: socket.socket, address: str) -> None:
        channel = Channel(connection, silence_s=_GREETING_S)
        try:
            hello = channel.receive(_LONGEST_GREETING) or {}
            rank = hello.get("rank")
            known = hmac.compare_digest(str(hello.get("token")).encode(), self._token.encode())
        except (OSError, ValueError, TypeError):
            known, rank = False, None
        if not known or not isinstance(rank, int) or not 0 < rank < self._nodes:
            say(f"refused a connection from {address}: it is none of this run's nodes")
            channel.close()
            return
        connection.settimeout(self._control.lost_s)
        with self._lock:
            if rank in self._members:
                taken = True
            else:
                taken = False
                self._members[rank] = channel
                self._hosts[rank] = str(hello.get("host"))
        if taken:
            say(f"refused a second node {rank} from {address}")
            channel.close()
            return
        if self._meetings.failure is not None:
            with contextlib.suppress(OSError):
                channel.send(to_json(self._meetings.failure))
        self._listen(rank, channel)

    def _listen(self, rank: int, channel: Channel) -> None:
        for message in channel.messages():
            match message.get("type"):
                case "bring":
                    self._meetings.bring(str(message["tag"]), rank, message["value"])
                case "failed":
                    self._note(from_json(message))
                case "bye":
                    channel.close()
                    self._meetings.leave(rank)
                    return
                case _:
                    continue
        self._meetings.leave(rank)
        if not self._closing.is_set():
            self._note(lost(rank, self._hosts[rank], "its agent is gone, or cannot be reached"))

    def _beat(self) -> None:
        while not self._closing.wait(self._control.heartbeat_s):
            self.announce({"type": "alive"})

    def _await_members(self) -> None:
        if self._closing.wait(self._control.connect_s):
            return
        with self._lock:
            absent = [rank for rank in range(1, self._nodes) if rank not in self._members]
        if absent:
            why = f"it did not come within {self._control.connect_s:g} s, nor did {len(absent) - 1} others"
            self._note(lost(absent[0], f"node {absent[0]}", why))
