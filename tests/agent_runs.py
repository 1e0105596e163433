"""Runs the agent as a target does: its files of the bundle, agent.json, SMTRAIN_* variables, one process a node."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from s3_server import S3Server, program

from smtrain.agent_files import agent_files

BUCKET = "agent"


def write_agent(folder: Path) -> Path:
    """Writes the agent's files as a bundle has them; returns the folder to run."""
    for file in agent_files():
        assert isinstance(file.content, bytes)
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
    return folder / "agent"


def plan(**changes: object) -> dict[str, object]:
    """Returns an agent.json that does nothing, with changes; those of `upload` and `control` are laid over them."""
    whole: dict[str, object] = {
        "format": 1,
        "inputs": [],
        "outputs": [],
        "install": {"packages": [], "requirements": "", "index_url": "", "wheels_dir": "", "mode": "never"},
        "secrets": {},
        "progress": None,
        "upload": {"interval_s": 0.2, "checkpoints": True, "model": True, "model_dir": []},
        "control": {"heartbeat_s": 0.5, "lost_s": 15, "connect_s": 60, "settle_s": 0.5},
    }
    for name, change in changes.items():
        before = whole[name]
        whole[name] = {**before, **change} if isinstance(before, dict) and isinstance(change, dict) else change
    return whole


def output(name: str = "model", **changes: object) -> dict[str, object]:
    """Returns an output with checkpoints."""
    own = {"name": name, "model": True, "checkpoint_glob": "checkpoint-*", "checkpoint_complete": "done.json"}
    return {**own, "keep": 2, **changes}


@dataclass
class Ended:
    """How an agent ended."""

    code: int
    log: str
    failure: str


@dataclass
class Target:
    """A target of some nodes, each with a folder of its own, and a place in the store.

    Attributes:
      root: folder of everything.
      uri: the run's place in the store.
      env: variables of every node.
    """

    root: Path
    uri: str
    env: Mapping[str, str]
    nodes: int = 1
    python: str = sys.executable
    port: int = 0
    started: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    def node(self, rank: int = 0) -> Path:
        return self.root / f"node-{rank}"

    def outputs(self, rank: int = 0) -> Path:
        return self.node(rank) / "output"

    def start(self, document: Mapping[str, object], script: str, rank: int = 0, **env: str) -> subprocess.Popen[bytes]:
        """Starts the agent of a node, with a bash script as its command."""
        folder = self.node(rank)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "agent.json").write_text(json.dumps(document))
        (folder / "steps.sh").write_text(script)
        (folder / "failure").unlink(missing_ok=True)
        agent = write_agent(folder)
        command = (self.python, "-u", str(agent), str(folder / "agent.json"), "--", "bash", str(folder / "steps.sh"))
        with (folder / "log").open("wb") as log:
            self.started[rank] = subprocess.Popen(
                command, env=self.variables(rank) | env, stdout=log, stderr=log, cwd=folder
            )
        return self.started[rank]

    def variables(self, rank: int) -> dict[str, str]:
        folder = self.node(rank)
        own = {
            "SMTRAIN_NODE_RANK": str(rank),
            "SMTRAIN_NUM_NODES": str(self.nodes),
            "SMTRAIN_MASTER_ADDR": "127.0.0.1",
            "SMTRAIN_MASTER_PORT": str(self.port - 1),
            "SMTRAIN_HOST": f"algo-{rank + 1}",
            "SMTRAIN_SCRATCH_DIR": str(folder / "scratch"),
            "SMTRAIN_OUTPUT_DIR": str(folder / "output"),
            "SMTRAIN_PLATFORM_MODEL_DIR": str(folder / "model"),
            "SMTRAIN_RUN_DIR": str(folder),
            "SMTRAIN_WORK": str(folder / "work"),
            "SMTRAIN_OUTPUT_URI": self.uri,
            "SMTRAIN_FAILURE_FILE": str(folder / "failure"),
            "SMTRAIN_PYTHON": self.python,
            "SMTRAIN_GRACE_S": "5",
        }
        tools = [str(Path(found).parent) for found in (program("s5cmd"), program("aws")) if found]
        return {**os.environ, "PATH": os.pathsep.join((*tools, os.environ["PATH"])), **self.env, **own}

    def wait(self, rank: int = 0, timeout_s: float = 60) -> Ended:
        code = self.started[rank].wait(timeout_s)
        path = self.node(rank) / "failure"
        return Ended(code, self.log(rank), path.read_text() if path.exists() else "")

    def log(self, rank: int = 0) -> str:
        return (self.node(rank) / "log").read_bytes().decode(errors="replace")

    def run(self, document: Mapping[str, object], script: str, **env: str) -> Ended:
        """Runs the agent of the one node to its end."""
        self.start(document, script, **env)
        return self.wait()

    def stop(self) -> None:
        """Ends what is still running, with all that it started."""
        for process in self.started.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


@contextmanager
def target(root: Path, server: S3Server, nodes: int = 1) -> Iterator[Target]:
    """A target whose run has a place of its own in the server's bucket."""
    uri = f"s3://{bucket(server)}/{uuid.uuid4().hex}/run"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    found = Target(root=root, uri=uri, env=server.env, nodes=nodes, port=port)
    try:
        yield found
    finally:
        found.stop()


def bucket(server: S3Server) -> str:
    """Returns the bucket of these tests."""
    client = server.client()
    if BUCKET not in {row["Name"] for row in client.list_buckets()["Buckets"]}:
        client.create_bucket(Bucket=BUCKET)
    return BUCKET


def put(server: S3Server, uri: str, content: bytes) -> None:
    name, _, key = uri.removeprefix("s3://").partition("/")
    server.client().put_object(Bucket=name, Key=key, Body=content)


def get(server: S3Server, uri: str) -> bytes:
    name, _, key = uri.removeprefix("s3://").partition("/")
    return server.client().get_object(Bucket=name, Key=key)["Body"].read()


def stored(server: S3Server, uri: str) -> dict[str, int]:
    """Returns relative key → size of what is below a URI."""
    name, _, key = uri.removeprefix("s3://").partition("/")
    key = key.rstrip("/") + "/"
    pages = server.client().get_paginator("list_objects_v2").paginate(Bucket=name, Prefix=key)
    return {row["Key"][len(key) :]: row["Size"] for page in pages for row in page.get("Contents", ())}


def until(condition: Callable[[], object], timeout_s: float = 60) -> None:
    """Waits until something is so."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)
