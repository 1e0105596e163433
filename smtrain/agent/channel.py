"""JSON lines over a TCP connection, with a limit, and a deadline for silence."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator

from smtrain.agent.plan import Json

Message = dict[str, Json]

_LONGEST = 1 << 24  # bytes; the list of a checkpoint's files is the longest that is sent


class Channel:
    """One end of a connection. Sending is safe in any thread; receiving is for one."""

    def __init__(self, connection: socket.socket, *, silence_s: float) -> None:
        """Takes the connection over.

        Args:
          connection: connected.
          silence_s: seconds without a word, or of being unable to send, after which an OSError is raised.
        """
        connection.settimeout(silence_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = connection
        self._lock = threading.Lock()
        self._rest = b""

    def send(self, message: Message) -> None:
        """Sends a message; raises OSError when the other end is gone."""
        with self._lock:
            self._connection.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, longest: int = _LONGEST) -> Message | None:
        """Returns the next message, None at the end; raises OSError after silence, ValueError for no message."""
        while b"\n" not in self._rest:
            if len(self._rest) > longest:
                message = "a message without end"
                raise ValueError(message)
            piece = self._connection.recv(1 << 16)
            if not piece:
                return None
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        found = json.loads(line)
        if not isinstance(found, dict):
            raise TypeError(found)
        return found

    def messages(self) -> Iterator[Message]:
        """Yields messages until the connection ends, however it ends."""
        try:
            while (message := self.receive()) is not None:
                yield message
        except (OSError, ValueError, TypeError):
            return

    def close(self) -> None:
        """Ends the connection; what was sent still arrives."""
        try:
            self._connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        finally:
            self._connection.close()
