"""A proxy in front of an S3 server that refuses, throttles and breaks off, as told."""

from __future__ import annotations

import http.client
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_PIECE = 1 << 16


@dataclass(slots=True, kw_only=True)
class Fault:
    """What goes wrong with requests that it matches.

    Attributes:
      method: HTTP method; "" matches all.
      contains: a part of the path or query, unquoted.
      times: how often it happens; the requests after that go through.
      status: answer with this status, and an S3 error of this code.
      code: of the S3 error.
      drop_after: let this many bytes of the answer's body through, then break the connection off.
      seen: how often it happened.
    """

    method: str = ""
    contains: str = ""
    times: int = 1 << 30
    status: int = 0
    code: str = ""
    drop_after: int | None = None
    seen: int = 0


@dataclass(slots=True, kw_only=True)
class FaultProxy:
    """A running proxy; `faults` may be changed at any time, `requests` holds (method, path) of what came."""

    endpoint: str
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, method: str, path: str) -> Fault | None:
        with self.lock:
            self.requests.append((method, path))
            for fault in self.faults:
                if fault.method in {"", method} and fault.contains in path and fault.seen < fault.times:
                    fault.seen += 1
                    return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.told.take(self.command, urllib.parse.unquote(self.path))
        if fault is not None and fault.status:
            self.refuse(fault)
            return
        connection = http.client.HTTPConnection(self.server.target.hostname or "", self.server.target.port)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() != "expect":
                    connection.putheader(name, value)
            connection.endheaders(body)
            self.answer(connection.getresponse(), fault)
        finally:
            connection.close()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815 - the names that it calls

    def refuse(self, fault: Fault) -> None:
        text = f"<?xml version='1.0'?><Error><Code>{fault.code}</Code><Message>told to</Message></Error>".encode()
        self.send_response(fault.status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def answer(self, response: http.client.HTTPResponse, fault: Fault | None) -> None:
        self.send_response_only(response.status)
        for name, value in response.headers.items():
            if name.lower() not in {"transfer-encoding", "connection"}:
                self.send_header(name, value)
        bodiless = self.command == "HEAD" or response.status in {204, 304}
        if response.headers.get("Content-Length") is None and not bodiless:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.copy(response, fault.drop_after if fault is not None else None)

    def copy(self, response: http.client.HTTPResponse, left: int | None) -> None:
        while piece := response.read(_PIECE if left is None else min(_PIECE, left)):
            self.wfile.write(piece)
            if left is not None:
                left -= len(piece)
                if not left:
                    self.close_connection = True
                    self.connection.close()
                    return

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    told: FaultProxy
    target: urllib.parse.SplitResult

    def handle_error(self, *_: object) -> None:
        pass  # clients that go away are part of it


@contextmanager
def proxy(upstream: str) -> Iterator[FaultProxy]:
    """Runs a proxy to this endpoint."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.target = urllib.parse.urlsplit(upstream)
        server.told = FaultProxy(endpoint=f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.told
        finally:
            server.shutdown()
