"""Files come from a login node whole, and only those that are not here yet; logs are read as they grow."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from login_nodes import Telling, contents, known_hosts, make_folder, node
from smtrain_hyperpod.transport.login_node import LoginNode
from smtrain_hyperpod.transport.reached import Reached, login_node
from smtrain_hyperpod.transport.way import ThisMachine
from ssh_server import SshServer

from smtrain.errors import SmtrainError

__all__ = ["known_hosts", "node"]

FILES = {
    "config.json": b"{}",
    'deep/weights\nof "two" lines': b"\x00" * 3_000_000,
    "run.sh": b"#!/bin/sh\n",
    "none": b"",
}


def test_a_folder_comes_as_it_is(node: LoginNode, tmp_path: Path) -> None:
    there = make_folder(tmp_path / "there", FILES)
    os.utime(there / "config.json", ns=(10**18, 10**18 + 7))
    came = node.fetch(str(there), tmp_path / "results" / "here", observer=Telling())
    here = tmp_path / "results" / "here"
    assert contents(here) == FILES
    assert set(came) == {here / name for name in FILES}
    assert (here / "config.json").stat().st_mtime_ns == 10**18 + 7
    assert os.access(here / "run.sh", os.X_OK)
    assert [path.name for path in here.parent.iterdir()] == ["here"]


def test_a_single_file_comes_under_the_name_that_it_shall_have(node: LoginNode, tmp_path: Path) -> None:
    there = make_folder(tmp_path, {"metrics.jsonl": b'{"step": 1}\n'}) / "metrics.jsonl"
    here = tmp_path / "here" / "m.jsonl"
    assert node.fetch(str(there), here, observer=Telling()) == (here,)
    assert here.read_bytes() == b'{"step": 1}\n'


def test_only_what_is_new_or_changed_comes_again(node: LoginNode, tmp_path: Path) -> None:
    there, here, telling = make_folder(tmp_path / "there", FILES), tmp_path / "here", Telling()
    node.fetch(str(there), here, observer=Telling())
    node.fetch(str(there), here, observer=telling)
    make_folder(there, {"config.json": b"{\n}", "new": b"12"})
    node.fetch(str(there), here, observer=telling)
    assert telling.lines == [
        f"{node.name}:{there}: fetched 0 files, 0 bytes; 4 here already",
        f"{node.name}:{there}: fetched 2 files, 5 bytes; 3 here already",
    ]
    assert contents(here) == {**FILES, "config.json": b"{\n}", "new": b"12"}


def test_what_was_here_beside_it_stays(node: LoginNode, tmp_path: Path) -> None:
    there, here = make_folder(tmp_path / "there", {"a": b"1"}), make_folder(tmp_path / "here", {"mine": b"2"})
    node.fetch(str(there), here, observer=Telling())
    assert contents(here) == {"a": b"1", "mine": b"2"}


def test_links_to_folders_are_left_there_and_told(node: LoginNode, tmp_path: Path) -> None:
    there, telling = make_folder(tmp_path / "there", {"a": b"1"}), Telling()
    (there / "loop").symlink_to(there)
    (there / "b").symlink_to(there / "a")
    node.fetch(str(there), tmp_path / "here", observer=telling)
    assert contents(tmp_path / "here") == {"a": b"1", "b": b"1"}
    assert telling.lines[0] == f"{node.name}:{there}/loop: left there, since it is no plain file"


def test_there_being_nothing_is_told(node: LoginNode, tmp_path: Path) -> None:
    with pytest.raises(SmtrainError, match=f"There is nothing at {tmp_path}/nowhere"):
        node.fetch(str(tmp_path / "nowhere"), tmp_path / "here", observer=Telling())
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_grows_while_it_is_fetched_is_not_taken(node: LoginNode, tmp_path: Path) -> None:
    # Listed with 0 bytes, as the kernel does, and longer by the time it is read.
    with pytest.raises(SmtrainError, match="was changed while it was fetched"):
        node.fetch("/proc/version", tmp_path / "here", observer=Telling())
    assert not (tmp_path / "here").exists()


def test_a_fetch_that_is_killed_leaves_nothing_and_goes_on(known_hosts: SshServer, tmp_path: Path) -> None:
    there = make_folder(tmp_path / "there", {"weights": os.urandom(48_000_000), "a": b"1"})
    here, telling = tmp_path / "here", Telling()
    fetcher = _fetcher(there, here, known_hosts)
    arrived = _wait_for_part(tmp_path / ".here.arriving" / "weights.part")
    fetcher.send_signal(signal.SIGKILL)
    fetcher.wait()
    assert not here.exists()
    login_node("login").fetch(str(there), here, observer=telling)
    assert contents(here) == contents(there)
    assert float(telling.lines[-1].split(", ")[1].split(" MB")[0]) * 1e6 <= 48_000_001 - arrived + 1e5


def test_a_login_node_cannot_write_elsewhere(tmp_path: Path) -> None:
    liar = tmp_path / "python.sh"
    for path in ("../evil", "/tmp/evil", "a/../../evil"):
        liar.write_text(f'#!/bin/sh\nprintf \'%s\\n\' \'{{"files": [["{path}", 1, 1, false]], "skipped": []}}\'; cat\n')
        liar.chmod(0o755)
        with pytest.raises(SmtrainError, match="leads elsewhere"):
            Reached(way=ThisMachine(python=str(liar))).fetch("/x", tmp_path / "here", observer=Telling())


def test_logs_are_read_from_where_the_last_reading_ended(node: LoginNode, tmp_path: Path) -> None:
    make_folder(tmp_path, {"node 0.log": b"one\ntwo\n", "node-1.log": b""})
    first, second, third = (str(tmp_path / name) for name in ("node 0.log", "node-1.log", "node-2.log"))
    assert node.read({first: 4, second: 0, third: 0}) == {first: b"two\n", second: b""}
    assert node.read({first: 0}, limit=3) == {first: b"one"}
    assert node.read({first: 99}) == {first: b""}
    assert node.read({}) == {}


def _fetcher(there: Path, here: Path, server: SshServer) -> subprocess.Popen[bytes]:
    source = (
        "import sys\nfrom pathlib import Path\nfrom login_nodes import Telling\n"
        "from smtrain_hyperpod.transport.reached import login_node\n"
        "login_node('slow').fetch(sys.argv[1], Path(sys.argv[2]), observer=Telling())\n"
    )
    tests = Path(__file__).parent
    environment = {**server.environment(), "PYTHONPATH": f"{tests}:{tests.parents[1] / 'plugins'}"}
    return subprocess.Popen((sys.executable, "-c", source, there, here), env=environment)


def _wait_for_part(part: Path, size: int = 2_000_000) -> int:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if part.exists() and part.stat().st_size >= size:
            return part.stat().st_size
        time.sleep(0.02)
    raise AssertionError
