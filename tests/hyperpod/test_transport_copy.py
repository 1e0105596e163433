"""A folder comes to a login node complete or not at all, and only what is not there yet is sent."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from login_nodes import Telling, contents, known_hosts, make_folder, node
from smtrain_hyperpod.transport import session
from smtrain_hyperpod.transport.login_node import Copied, LoginNode
from smtrain_hyperpod.transport.reached import Reached, login_node
from smtrain_hyperpod.transport.way import ThisMachine
from ssh_server import SshServer

from smtrain.errors import SmtrainError

__all__ = ["known_hosts", "node"]

FILES = {
    "job.sbatch": b"#!/bin/bash\n",
    "launch.sh": b"#!/bin/bash\n",
    'deep/er/it\'s "a" name\nof two lines \\': b"\x00\xff",
    os.fsdecode(b"no text \xff"): b"1",
    "-rf": b"",
    "empty": b"",
}


def test_a_folder_arrives_as_it_is(node: LoginNode, tmp_path: Path) -> None:
    bundle = make_folder(tmp_path / "bundle", FILES)
    there = tmp_path / "shared dir's" / "runs" / "r-1" / "bundle"
    copied = node.copy(bundle, to=str(there), store=str(tmp_path / "shared dir's" / "store"), observer=Telling())
    assert copied.path == str(there)
    assert contents(there) == FILES
    assert (there / "launch.sh").stat().st_mode & 0o111
    assert not (there / "job.sbatch").stat().st_mode & 0o111


def test_files_that_are_there_are_not_sent_again(node: LoginNode, tmp_path: Path) -> None:
    store, telling = str(tmp_path / "store"), Telling()
    first = make_folder(tmp_path / "first", {"data": b"x" * 1000, "args": b"1"})
    second = make_folder(tmp_path / "second", {"data": b"x" * 1000, "args": b"22"})
    assert node.copy(first, to=str(tmp_path / "r1"), store=store, observer=telling).bytes_sent == 1001
    assert node.copy(second, to=str(tmp_path / "r2"), store=store, observer=telling).bytes_sent == 2
    again = node.copy(second, to=str(tmp_path / "r2"), store=store, observer=telling)
    assert (again.files_sent, again.path) == (0, str(tmp_path / "r2"))
    assert telling.lines == [
        f"{node.name}:{tmp_path}/r1: copied 2 files, 1 kB",
        f"{node.name}:{tmp_path}/r2: copied 1 file, 2 bytes; 1 there already",
        f"{node.name}:{tmp_path}/r2: there already",
    ]


def test_a_bundle_that_was_compiled_again_by_another_version_is_the_same(node: LoginNode, tmp_path: Path) -> None:
    bundle = make_folder(tmp_path / "bundle", {"a": b"1", "manifest.json": b"{}"})
    node.copy(bundle, to=str(tmp_path / "r"), store=str(tmp_path / "s"), observer=Telling())
    assert contents(tmp_path / "r") == {"a": b"1"}
    make_folder(bundle, {"manifest.json": b'{"plugins": {"smtrain": "2"}}'})
    assert node.copy(bundle, to=str(tmp_path / "r"), store=str(tmp_path / "s"), observer=Telling()).files_sent == 0


def test_what_is_at_the_place_already_is_never_changed(node: LoginNode, tmp_path: Path) -> None:
    bundle = make_folder(tmp_path / "bundle", {"a": b"1"})
    there = make_folder(tmp_path / "r", {"precious": b"results"})
    with pytest.raises(SmtrainError, match="holds something else already"):
        node.copy(bundle, to=str(there), store=str(tmp_path / "s"), observer=Telling())
    assert contents(there) == {"precious": b"results"}


def test_a_path_may_begin_in_the_home_folder(known_hosts: SshServer, tmp_path: Path) -> None:
    bundle = make_folder(tmp_path / "bundle", {"a": b"1"})
    copied = login_node("noisy").copy(bundle, to="~/runs/r", store="~/store", observer=Telling())
    assert copied.path == f"{known_hosts.folder}/home-noisy/runs/r"
    assert contents(Path(copied.path)) == {"a": b"1"}


def test_a_copy_whose_sender_is_killed_goes_on_where_it_broke_off(known_hosts: SshServer, tmp_path: Path) -> None:
    bundle, there, store = _large(tmp_path), tmp_path / "r", tmp_path / "store"
    sender = _sender(bundle, there, store, known_hosts)
    arrived = _wait_for_part(store)
    sender.kill()
    sender.wait()
    assert not there.exists()
    copied = login_node("login").copy(bundle, to=str(there), store=str(store), observer=Telling())
    assert copied.bytes_sent <= _size(bundle) - arrived
    assert contents(there) == contents(bundle)
    assert [path.name for path in (store / "incoming").iterdir()] == [".turn"]


def test_a_copy_whose_connection_breaks_says_so_and_goes_on(known_hosts: SshServer, tmp_path: Path) -> None:
    bundle, there, store = _large(tmp_path), tmp_path / "r", tmp_path / "store"
    sender = _sender(bundle, there, store, known_hosts)
    arrived = _wait_for_part(store)
    _kill_throttle(known_hosts)
    _, stderr = sender.communicate(timeout=60)
    assert "The connection to slow broke" in stderr
    assert not there.exists()
    copied = login_node("login").copy(bundle, to=str(there), store=str(store), observer=Telling())
    assert copied.bytes_sent <= _size(bundle) - arrived
    assert contents(there) == contents(bundle)


def test_a_damaged_rest_of_an_earlier_copy_is_not_used(node: LoginNode, tmp_path: Path) -> None:
    bundle = make_folder(tmp_path / "bundle", {"data": b"x" * 1000})
    node.copy(bundle, to=str(tmp_path / "r1"), store=str(tmp_path / "s1"), observer=Telling())
    (digest,) = (path.name for path in (tmp_path / "s1").glob("??/*"))
    part = make_folder(tmp_path / "s2" / "incoming", {digest: b"y" * 500}) / digest
    node.copy(bundle, to=str(tmp_path / "r2"), store=str(tmp_path / "s2"), observer=Telling())
    assert contents(tmp_path / "r2") == {"data": b"x" * 1000}
    assert not part.exists()


def test_a_file_that_was_changed_in_the_store_is_not_used(node: LoginNode, tmp_path: Path) -> None:
    bundle = make_folder(tmp_path / "bundle", {"job.sbatch": b"#!/bin/bash\n"})
    node.copy(bundle, to=str(tmp_path / "r1"), store=str(tmp_path / "s"), observer=Telling())
    (tmp_path / "r1" / "job.sbatch").chmod(0o644)
    (tmp_path / "r1" / "job.sbatch").write_bytes(b"#!/bin/sush\n")
    node.copy(bundle, to=str(tmp_path / "r2"), store=str(tmp_path / "s"), observer=Telling())
    assert contents(tmp_path / "r2") == {"job.sbatch": b"#!/bin/bash\n"}


def test_copies_of_the_same_at_once_all_arrive_and_are_sent_once(node: LoginNode, tmp_path: Path) -> None:
    bundle = make_folder(tmp_path / "bundle", {"data": os.urandom(5_000_000), **FILES})
    failures: list[BaseException] = []
    done: list[Copied] = []

    def copy(place: str) -> None:
        try:
            done.append(node.copy(bundle, to=str(tmp_path / place), store=str(tmp_path / "store"), observer=Telling()))
        except BaseException as error:  # noqa: BLE001  # shown below
            failures.append(error)

    threads = [threading.Thread(target=copy, args=(place,)) for place in ("a", "b", "same", "same")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert all(contents(tmp_path / place) == contents(bundle) for place in ("a", "b", "same"))
    assert sum(copied.files_sent for copied in done) == len(contents(bundle)) - 1  # two of them are empty
    assert [path.name for path in tmp_path.iterdir() if ".new" in path.name] == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A file system of 1 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = subprocess.run(("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place), capture_output=True, check=False)
    if mount.returncode:
        pytest.skip("file systems can be mounted by root alone, and not in every container")
    yield place  # type: ignore[misc]
    subprocess.run(("umount", "--lazy", place), check=True)


def test_a_full_disk_is_told_and_leaves_no_bundle(node: LoginNode, tmp_path: Path, small_disk: Path) -> None:
    bundle = make_folder(tmp_path / "bundle", {"data": os.urandom(8_000_000)})
    with pytest.raises(SmtrainError, match=r"(?s)The disk is full.*goes on from there"):
        node.copy(bundle, to=str(small_disk / "r"), store=str(small_disk / "store"), observer=Telling())
    assert not (small_disk / "r").exists()


def test_a_file_system_that_takes_no_writes_is_told(node: LoginNode, tmp_path: Path, small_disk: Path) -> None:
    subprocess.run(("mount", "-o", "remount,ro", small_disk), check=True)
    bundle = make_folder(tmp_path / "bundle", {"a": b"1"})
    with pytest.raises(SmtrainError, match=f"takes no writes at {small_disk}/store"):
        node.copy(bundle, to=str(small_disk / "r"), store=str(small_disk / "store"), observer=Telling())


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can become somebody else")
def test_a_folder_of_somebody_else_is_told(tmp_path: Path) -> None:
    python = make_folder(tmp_path, {"python.sh": b""}) / "python.sh"
    python.write_text(f'#!/bin/sh\nexec setpriv --reuid 65534 --clear-groups {sys.executable} "$@"\n')
    bundle = make_folder(tmp_path / "bundle", {"a": b"1"})
    somebody = Reached(way=ThisMachine(python=str(python)))
    with pytest.raises(SmtrainError, match="You may not write, or not read, at /store"):
        somebody.copy(bundle, to="/r", store="/store", observer=Telling())


def test_what_runs_on_the_login_node_is_python_3_6() -> None:
    source = Path(session.__file__).with_name("on_node.py").read_text()
    tree = ast.parse(source, feature_version=(3, 6))
    imported = {alias.name for each in ast.walk(tree) if isinstance(each, ast.Import) for alias in each.names}
    assert imported == {"errno", "fcntl", "hashlib", "json", "os", "shutil", "stat", "sys", "time"}


def _large(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "bundle", {"data": os.urandom(48_000_000), "small": b"1"})


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _sender(bundle: Path, there: Path, store: Path, server: SshServer) -> subprocess.Popen[str]:
    source = (
        "import sys\nfrom pathlib import Path\nfrom login_nodes import Telling\n"
        "from smtrain_hyperpod.transport.reached import login_node\n"
        "login_node('slow').copy(Path(sys.argv[1]), to=sys.argv[2], store=sys.argv[3], observer=Telling())\n"
    )
    here = Path(__file__).parent
    environment = {**server.environment(), "PYTHONPATH": f"{here}:{here.parents[1] / 'plugins'}"}
    words = (sys.executable, "-c", source, bundle, there, store)
    return subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True)


def _wait_for_part(store: Path, size: int = 2_000_000) -> int:
    """Waits until so many bytes of a file have arrived, and returns how many it is."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        sizes = [path.stat().st_size for path in store.glob("incoming/*")]
        if sizes and max(sizes) >= size:
            return max(sizes)
        time.sleep(0.02)
    raise AssertionError


def _kill_throttle(server: SshServer) -> None:
    """Ends what the way to the host `slow` leads through."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if os.fsencode(server.folder / "throttle.py") in words and b"sh" not in words[0]:
            os.kill(int(entry.parent.name), signal.SIGKILL)
