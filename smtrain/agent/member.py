"""Another node's end of the conversation: it connects, brings, and is told."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

from smtrain.agent.channel import Channel, Message
from smtrain.agent.ending import Failure
from smtrain.agent.peers import Decide, Meetings, from_json, lost, to_json
from smtrain.agent.plan import Control, Json

_RETRY_S = 0.5
_LEAVE_S = 5.0


class Member:
    """Connects to the first node, which may be up later than this one, and have no address yet."""

    def __init__(
        self,
        *,
        rank: int,
        host: str,
        master: str,
        port: int,
        token: str,
        control: Control,
        on_failure: Callable[[Failure], None],
        on_message: Callable[[Message], None],
    ) -> None:
        """Begins to connect.

        Args:
          rank: of this node.
          host: its name.
          master: name or address of the first node.
          port: on which that listens.
          token: known to the nodes of this run alone.
          control: times.
          on_failure: told the cause, once, in a thread of this.
          on_message: told what the first node announces, in a thread of this.
        """
        self._rank = rank
        self._master = master
        self._port = port
        self._hello: Message = {"rank": rank, "host": host, "token": token}
        self._control = control
        self._on_failure = on_failure
        self._on_message = on_message
        self._meetings = Meetings()
        self._closing = threading.Event()
        self._connected = threading.Event()
        self._channel: Channel | None = None
        threading.Thread(target=self._converse, daemon=True).start()
        threading.Thread(target=self._beat, daemon=True).start()

    def exchange(self, tag: str, value: Json, decide: Decide, *, timeout_s: float | None = None) -> Json:
        """Brings a value, and waits for the decision."""
        del decide
        while not self._connected.wait(_RETRY_S) and self._meetings.failure is None:
            continue
        self._send({"type": "bring", "tag": tag, "value": value})
        return self._meetings.decided(tag, timeout_s)

    def announce(self, message: Message) -> None:
        """Does nothing: the first node announces."""

    def fail(self, failure: Failure) -> Failure:
        """Tells the first node, and waits for the cause."""
        deadline = time.monotonic() + self._control.settle_s + 10
        # A node that fails before the first one is up must still be heard.
        self._connected.wait(self._control.connect_s)
        self._send(to_json(failure))
        return self._meetings.failed(max(1.0, deadline - time.monotonic())) or failure

    def close(self) -> None:
        """Ends the conversation."""
        self._closing.set()
        self._send({"type": "bye"})
        if self._channel is not None:
            # The first node closes its end when it has read this; see `Leader.close`.
            self._meetings.left((0,), _LEAVE_S)
            self._channel.close()

    def _send(self, message: Message) -> None:
        try:
            if self._channel is not None:
                self._channel.send(message)
        except OSError:
            return  # the reader finds the first node lost

    def _converse(self) -> None:
        channel = self._connect()
        if channel is None:
            self._lost(f"it could not be reached at {self._master}:{self._port} within {self._control.connect_s:g} s")
            return
        for message in channel.messages():
            match message.get("type"):
                case "decided":
                    self._meetings.decide(str(message["tag"]), message["value"])
                case "failed":
                    self._meet(from_json(message))
                case "alive":
                    continue
                case _:
                    self._on_message(message)
        self._meetings.leave(0)
        self._lost("its agent is gone, or cannot be reached")

    def _connect(self) -> Channel | None:
        deadline = time.monotonic() + self._control.connect_s
        while time.monotonic() < deadline and not self._closing.is_set():
            try:
                connection = socket.create_connection((self._master, self._port), timeout=5)
                if connection.getsockname() == connection.getpeername():
                    # TCP's simultaneous open: with nobody listening, a port of this machine may connect to itself.
                    connection.close()
                    raise ConnectionRefusedError
                channel = Channel(connection, silence_s=self._control.lost_s)
                channel.send(self._hello)
            except OSError:
                # Not up yet, or its name does not resolve yet.
                time.sleep(_RETRY_S)
                continue
            self._channel = channel
            self._connected.set()
            return channel
        return None

    def _lost(self, why: str) -> None:
        if not self._closing.is_set() and self._meetings.failure is None:
            self._meet(lost(0, self._master, why))

    def _meet(self, failure: Failure) -> None:
        self._meetings.fail(failure)
        self._on_failure(failure)

    def _beat(self) -> None:
        while not self._closing.wait(self._control.heartbeat_s):
            self._send({"type": "alive"})
