"""A service of AWS that keeps jobs by name, over HTTP, for tests: they are in the state that the test puts them in.

Where a job shall really run, `sagemaker_service` is the one to take.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from s3_server import client_environment

HANG, LOST = "hang", "lost"
"""What may become of a call that was carried out: no answer comes, or the connection breaks instead."""

NAME = "TrainingJobName"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A call that is not carried out, and the answer to it."""

    code: str
    message: str = "Said by the test."
    status: int = 400


@dataclass(kw_only=True)
class JobService:
    """A service that is up.

    Attributes:
      endpoint: its URL.
      jobs: name → status.
      requests: of each job, as it was made.
      calls: operations, in order, those that were refused included.
      faults: operation → what becomes of the next calls of it, in order.
      begins_as: status of a job that was made.
      creating: is waited for before anything is made, by as many callers as it has parties.
    """

    endpoint: str
    jobs: dict[str, str] = field(default_factory=dict)
    requests: list[dict[str, object]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    faults: dict[str, list[Refusal | str]] = field(default_factory=dict)
    begins_as: str = "InProgress"
    creating: threading.Barrier | None = None
    closed: threading.Event = field(default_factory=threading.Event)

    def environment(self) -> dict[str, str]:
        """Returns what a client's environment needs to use it."""
        return {**client_environment(self.endpoint), "AWS_ENDPOINT_URL": self.endpoint}

    def create(self, request: dict[str, object]) -> Refusal | dict[str, object]:
        if self.creating is not None:
            self.creating.wait(30)
        name = str(request[NAME])
        with _LOCK:
            if name in self.jobs:
                # In the words of the real one, github.com/aws/amazon-sagemaker-examples/pull/3108.
                message = "Training job names must be unique within an AWS account and region, and a training job with "
                return Refusal(code="ResourceInUse", message=f"{message}this name already exists (arn:…/{name})")
            self.jobs[name] = self.begins_as
            self.requests.append(request)
        return {"TrainingJobArn": f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{name}"}

    def describe(self, request: dict[str, object]) -> Refusal | dict[str, object]:
        name = str(request[NAME])
        if name not in self.jobs:
            # In the words of the real one, github.com/aws/aws-sdk/issues/165.
            return Refusal(code="ValidationException", message="Requested resource not found.")
        return {NAME: name, "TrainingJobStatus": self.jobs[name], "CreationTime": time.time()}


_LOCK = threading.Lock()


@contextmanager
def serve() -> Iterator[JobService]:
    """Runs the service on loopback."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.service = JobService(endpoint=f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server.service
    finally:
        server.service.closed.set()
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    service: JobService


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        service = self.server.service
        operation = self.headers["X-Amz-Target"].rpartition(".")[2]
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        service.calls.append(operation)
        faults = service.faults.get(operation)
        fault = faults.pop(0) if faults else None
        if isinstance(fault, Refusal):
            self._write(fault)
            return
        answer = {"CreateTrainingJob": service.create, "DescribeTrainingJob": service.describe}[operation](request)
        if fault == HANG:
            service.closed.wait(60)
        if fault in (HANG, LOST):
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        else:
            self._write(answer)

    def _write(self, answer: Refusal | dict[str, object]) -> None:
        status, document = 200, answer
        if isinstance(answer, Refusal):
            status, document = answer.status, {"__type": answer.code, "message": answer.message}
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass
