"""Login nodes for tests: this machine, and hosts of the test's own sshd."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from smtrain_hyperpod.transport.login_node import LoginNode
from smtrain_hyperpod.transport.reached import login_node
from ssh_server import SshServer


class Telling:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    def progress(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        raise AssertionError


@pytest.fixture(params=["this machine", "over ssh"])
def node(request: pytest.FixtureRequest) -> LoginNode:
    """A login node, in each of the ways to one."""
    if request.param == "this machine":
        return login_node(None)
    request.getfixturevalue("known_hosts")
    return login_node("login")


@pytest.fixture
def known_hosts(ssh_server: SshServer, monkeypatch: pytest.MonkeyPatch) -> SshServer:
    """The server, whose hosts this process's `ssh` knows."""
    monkeypatch.setenv("PATH", ssh_server.environment()["PATH"])
    return ssh_server


def make_folder(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Writes files into a folder, those named *.sh executable, and returns that."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o755 if name.endswith(".sh") else 0o644)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Returns path → content of every file in a folder, but for the mark of a copy."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if name != ".smtrain-contents"}
