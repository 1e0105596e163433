"""The wire to an S3 server, for tests: passes requests on, counts what they carry, and fails some of them as told."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

_LAST_PIECE = 2**16


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as it came in.

    Attributes:
      method: e.g. "PUT".
      key: bucket and key, decoded.
      query: its parameters.
      headers: with lower-case names.
      size: bytes of its body.
    """

    method: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]
    size: int

    @property
    def is_listing(self) -> bool:
        return self.query.get("list-type") == "2"

    @property
    def is_part(self) -> bool:
        return self.method == "PUT" and "partNumber" in self.query


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer instead of the server's: a refusal, or without a code, an empty one."""

    status: int
    code: str = ""
    message: str = "Said by the test."
    headers: dict[str, str] = field(default_factory=dict)


BREAK, LOST = "break", "lost"
"""The connection breaks in the middle of the body; or after the server did what it was asked, instead of the answer."""

Fault = Answer | str | None


@dataclass(kw_only=True)
class Wire:
    """A proxy that is up.

    Attributes:
      endpoint: its URL.
      asked: what came in, in order.
      fault: tells what becomes of a request; None passes it on.
    """

    endpoint: str
    asked: list[Asked] = field(default_factory=list)
    fault: Callable[[Asked], Fault] = lambda _: None

    @property
    def sent(self) -> int:
        """Bytes of the bodies of objects and parts."""
        return sum(each.size for each in self.asked if each.method == "PUT")

    def listings(self) -> int:
        return sum(each.is_listing for each in self.asked)

    def puts(self) -> list[str]:
        return sorted(each.key for each in self.asked if each.method == "PUT")

    def clear(self) -> None:
        self.asked.clear()
        self.fault = lambda _: None


@contextmanager
def wire_to(endpoint: str) -> Iterator[Wire]:
    """Runs a proxy in front of a server; what is signed for the proxy's own address, the server accepts."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.behind = urlsplit(endpoint).netloc
    server.wire = Wire(endpoint=f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server.wire
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    behind: str
    wire: Wire


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _pass(self) -> None:
        asked = self._asked()
        fault = self.server.wire.fault(asked)
        if fault == BREAK:
            self.rfile.read(min(asked.size // 2, _LAST_PIECE))
            self._break()
            return
        body = self.rfile.read(asked.size)
        if isinstance(fault, Answer):
            self._say(fault)
            return
        self.server.wire.asked.append(asked)
        status, headers, content = self._forward(body)
        if fault == LOST:
            self._break()
        else:
            self._write(status, headers, content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass  # noqa: N815  # names that http.server looks for

    def _asked(self) -> Asked:
        url = urlsplit(self.path)
        return Asked(
            method=self.command,
            key=unquote(url.path).lstrip("/"),
            query=dict(parse_qsl(url.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers.items()},
            size=int(self.headers.get("Content-Length") or 0),
        )

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        onward = http.client.HTTPConnection(self.server.behind, timeout=60)
        onward.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in ("expect", "connection"):
                onward.putheader(name, value)
        onward.endheaders(body)
        answer = onward.getresponse()
        content = answer.read()
        onward.close()
        return answer.status, dict(answer.getheaders()), content

    def _break(self) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def _say(self, answer: Answer) -> None:
        document = f"<Error><Code>{answer.code}</Code><Message>{answer.message}</Message></Error>"
        if not answer.code:
            document = "<ListBucketResult/>" if self.command == "GET" else ""
        self._write(answer.status, {"Content-Type": "application/xml", **answer.headers}, document.encode())

    def _write(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("transfer-encoding", "connection", "content-length", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass
