"""What an SDK sends to SageMaker: a server on loopback that notes every call, and says of every job that it is done."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REGION = "us-east-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What has come so far.

    Attributes:
      endpoint: the server's URL.
      calls: (service and operation, request) in the order in which they came.
    """

    endpoint: str
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def jobs(self) -> dict[str, dict[str, Any]]:
        """Job name → request of CreateTrainingJob."""
        return {each["TrainingJobName"]: each for name, each in self.calls if name == "SageMaker.CreateTrainingJob"}

    def environment(self) -> dict[str, str]:
        """Returns the environment of a process that calls this server, and no other."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
        return {
            **kept,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "AKIATESTTESTTESTTEST",
            "AWS_SECRET_ACCESS_KEY": "test-secret-key",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }


@contextmanager
def recording() -> Iterator[Sent]:
    """Runs a server for as long as it is needed."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.sent = Sent(endpoint=f"http://127.0.0.1:{server.server_address[1]}")  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.sent  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        operation = self.headers.get("X-Amz-Target", "")
        sent: Sent = self.server.sent  # type: ignore[attr-defined]
        request = json.loads(body) if operation else {"body": body.decode(errors="replace")}
        sent.calls.append((operation or f"{self.command} {self.path}", request))
        answer = _answer(operation, request, sent)
        self._send(200 if answer is not None else 403, json.dumps(answer or {"__type": "AccessDeniedException"}))

    do_GET = do_HEAD = do_PUT = do_POST  # noqa: N815

    def _send(self, status: int, text: str) -> None:
        payload = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(payload)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        del format, args


def _answer(operation: str, request: dict[str, Any], sent: Sent) -> dict[str, Any] | None:
    match operation.partition(".")[2]:
        case "CreateTrainingJob":
            return {"TrainingJobArn": _arn(request["TrainingJobName"])}
        case "DescribeTrainingJob" if request["TrainingJobName"] in sent.jobs:
            return _finished(sent.jobs[request["TrainingJobName"]])
        case "DescribeLogStreams":
            return {"logStreams": []}
    return None


def _finished(request: dict[str, Any]) -> dict[str, Any]:
    """A job as DescribeTrainingJob tells of it when it has ended."""
    kept = {name: value for name, value in request.items() if name != "Tags"}
    return {
        **kept,
        "TrainingJobArn": _arn(request["TrainingJobName"]),
        "TrainingJobStatus": "Completed",
        "SecondaryStatus": "Completed",
        "ModelArtifacts": {"S3ModelArtifacts": "s3://bucket/model.tar.gz"},
        "CreationTime": 1_700_000_000,
        "TrainingStartTime": 1_700_000_001,
        "TrainingEndTime": 1_700_000_100,
        "LastModifiedTime": 1_700_000_100,
        "TrainingTimeInSeconds": 99,
        "BillableTimeInSeconds": 99,
        "SecondaryStatusTransitions": [],
    }


def _arn(name: str) -> str:
    return f"arn:aws:sagemaker:{REGION}:123456789012:training-job/{name}"
