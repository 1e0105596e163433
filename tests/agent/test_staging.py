"""Inputs come to the scratch disk: whole, verified, resumed; or the reason is clear and nothing is run."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from agent_runs import Target, bucket, plan, put, until
from fault_proxy import Fault, FaultProxy, proxy
from s3_server import S3Server, needs

LIST_INPUT = 'cd "$SMTRAIN_INPUT_DATA" && find . -type f -print0 | sort -z | xargs -0 sha256sum --'
SHOW_INPUT = 'printf "%s " "$SMTRAIN_INPUT_DATA"; cat "$SMTRAIN_INPUT_DATA"'


@pytest.fixture
def faulty(s3_server: S3Server) -> Iterator[FaultProxy]:
    with proxy(s3_server.endpoint) as found:
        yield found


def inputs(uri: str, *, file: bool | None = None, **changes: object) -> dict[str, object]:
    return plan(inputs=[{"name": "data", "variable": "SMTRAIN_INPUT_DATA", "uri": uri, "file": file}], **changes)


def staged(target: Target) -> dict[str, bytes]:
    folder = target.node() / "scratch" / "inputs" / "data"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def objects(server: S3Server, target: Target, files: dict[str, bytes]) -> str:
    prefix = f"{target.uri}/in"
    for name, content in files.items():
        put(server, f"{prefix}/{name}", content)
    return prefix


@pytest.mark.parametrize("ending", ["", "/", "/*"])
def test_a_prefix_is_staged_as_a_folder(s3_server: S3Server, one: Target, ending: str) -> None:
    uri = objects(s3_server, one, {"a.json": b"1", "sub/b.bin": b"22", "empty": b"", "marker/": b""})
    put(s3_server, f"{uri}-sibling/c", b"not wanted")
    ended = one.run(inputs(uri + ending), 'find "$SMTRAIN_INPUT_DATA" -type f | wc -l')
    assert ended.code == 0, ended.log
    assert staged(one) == {"a.json": b"1", "sub/b.bin": b"22", "empty": b""}
    assert "\n3\n" in ended.log


HOSTILE = (
    *("a b", "ü+é 数", "q'uo\"te", "-dash", "st*ar", "wh?y", "br[a]c", "$(touch x)", "new\nline", "100%25", "per%zz"),
    *("a..b", "hash#x", "&amp", "semi;colon", "~", "tab\there", "sub folder/in side", "{brace}", "#first"),
)


def test_hostile_keys_arrive_under_their_own_names(s3_server: S3Server, one: Target) -> None:
    files = {name: name.encode() for name in HOSTILE}
    ended = one.run(inputs(objects(s3_server, one, files)), LIST_INPUT)
    assert ended.code == 0, ended.log
    assert staged(one) == files


@pytest.mark.parametrize("client", ["s5cmd", pytest.param("aws", marks=pytest.mark.slow), "boto3"])
def test_every_client_fetches_hostile_keys_one_by_one_too(s3_server: S3Server, one: Target, client: str) -> None:
    if client == "aws":
        needs("aws")
    files = {
        name: name.encode() for name in ("a b", "ü+é", "q'uo\"te", "-dash", "st*ar", "wh?y", "br[a]c", "#x", "p%20")
    }
    uri = objects(s3_server, one, files)
    first = one.run(inputs(uri), "true", SMTRAIN_S3_CLIENT=client)
    assert first.code == 0, first.log
    assert staged(one) == files
    for name in ("a b", "st*ar", "q'uo\"te", "#x"):
        (one.node() / "scratch/inputs/data" / name).unlink()
    (one.node() / "scratch/inputs/data/wh?y").write_bytes(b"of another length")
    again = one.run(inputs(uri), "true", SMTRAIN_S3_CLIENT=client)
    assert again.code == 0, again.log
    assert staged(one) == files
    name = {"s5cmd": "s5cmd", "aws": "the AWS CLI", "boto3": "boto3"}[client]
    assert f"S3 is read and written by {name}" in first.log


def test_a_wildcard_in_the_prefix_is_no_wildcard(s3_server: S3Server, one: Target) -> None:
    base = objects(s3_server, one, {"st*ar/x": b"1", "starry/x": b"no", "st*ar/y*": b"2"})
    ended = one.run(inputs(f"{base}/st*ar"), "true")
    assert ended.code == 0, ended.log
    assert staged(one) == {"x": b"1", "y*": b"2"}


def test_an_object_is_staged_as_a_file_with_its_name(s3_server: S3Server, one: Target) -> None:
    uri = objects(s3_server, one, {"train.jsonl": b"rows", "train.jsonl.bak": b"no"})
    ended = one.run(inputs(f"{uri}/train.jsonl"), SHOW_INPUT)
    assert ended.code == 0, ended.log
    assert f"{one.node()}/scratch/inputs/data/train.jsonl rows" in ended.log


def test_a_folder_of_the_target_is_copied(one: Target, tmp_path: Path) -> None:
    source = tmp_path / "shared data"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "x").write_text("1")
    ended = one.run(inputs(str(source)), LIST_INPUT)
    assert ended.code == 0, ended.log
    assert staged(one) == {"sub/x": b"1"}


def test_a_prefix_without_objects_is_told_with_what_is_near(s3_server: S3Server, one: Target) -> None:
    base = objects(s3_server, one, {"qwen-7b/config.json": b"{}", "other/x": b"1"})
    ended = one.run(inputs(f"{base}/qwen-7B"), "echo ran")
    assert ended.code == 66
    assert f"there is nothing at {base}/qwen-7B" in ended.failure
    assert "qwen-7b/" in ended.failure
    assert "ran" not in ended.log.splitlines()


def test_a_missing_bucket_is_told(one: Target) -> None:
    ended = one.run(inputs("s3://no-such-bucket-here/model"), "true")
    assert ended.code == 66
    assert "there is no bucket s3://no-such-bucket-here" in ended.failure


def test_a_folder_where_a_file_is_wanted_is_told(s3_server: S3Server, one: Target) -> None:
    ended = one.run(inputs(objects(s3_server, one, {"a": b"1"}), file=True), "true")
    assert ended.code == 66
    assert "is a folder of 1 objects, and one file is wanted" in ended.failure


def test_refused_access_names_the_permission(
    s3_server: S3Server, faulty: FaultProxy, targets: Callable[..., Target]
) -> None:
    one = targets(server=s3_server.behind(faulty.endpoint))
    uri = objects(s3_server, one, {"a": b"1", "b": b"2"})
    faulty.faults = [Fault(method="GET", contains="/in/b", status=403, code="AccessDenied")]
    ended = one.run(inputs(uri), "true")
    assert ended.code == 77
    assert "s3:GetObject" in ended.failure
    assert "AccessDenied" in ended.failure
    faulty.faults = [Fault(method="GET", contains="prefix=", status=403, code="AccessDenied")]
    ended = one.run(inputs(uri), "true")
    assert ended.code == 77
    assert "s3:ListBucket" in ended.failure


@pytest.mark.slow
def test_throttling_is_waited_for(s3_server: S3Server, faulty: FaultProxy, targets: Callable[..., Target]) -> None:
    one = targets(server=s3_server.behind(faulty.endpoint))
    files = {str(index): str(index).encode() for index in range(5)}
    uri = objects(s3_server, one, files)
    faulty.faults = [
        Fault(method="GET", contains="prefix=", times=1, status=503, code="SlowDown"),
        Fault(method="GET", contains="/in/", times=3, status=503, code="SlowDown"),
    ]
    ended = one.run(inputs(uri), "true")
    assert ended.code == 0, ended.log
    assert [fault.seen for fault in faulty.faults] == [1, 3]
    assert staged(one) == files


@pytest.mark.slow
def test_a_connection_that_breaks_in_a_large_object_is_resumed(
    s3_server: S3Server, faulty: FaultProxy, targets: Callable[..., Target]
) -> None:
    one = targets(server=s3_server.behind(faulty.endpoint))
    large = os.urandom(1 << 20) * 200
    uri = objects(s3_server, one, {"model.safetensors": large, "small": b"1"})
    faulty.faults = [Fault(method="GET", contains="model.safetensors", times=12, drop_after=7 << 20)]
    ended = one.run(inputs(uri), "true")
    assert ended.code == 0, ended.log
    assert faulty.faults[0].seen == 12
    content = staged(one)
    assert content.keys() == {"model.safetensors", "small"}
    assert hashlib.sha256(content["model.safetensors"]).digest() == hashlib.sha256(large).digest()


@pytest.mark.slow
def test_an_object_that_never_arrives_is_an_error_and_not_a_short_file(
    s3_server: S3Server, faulty: FaultProxy, targets: Callable[..., Target], tmp_path: Path
) -> None:
    one = targets(server=s3_server.behind(faulty.endpoint))
    uri = objects(s3_server, one, {"a": b"1" * 1000, "b": b"2"})
    faulty.faults = [Fault(method="GET", contains="/in/a", status=404, code="NoSuchKey")]
    # The six tries take most of a minute; this agent pauses between them a twentieth as long.
    (tmp_path / "sitecustomize.py").write_text("import time\npause = time.sleep\ntime.sleep = lambda s: pause(s / 20)")
    ended = one.run(inputs(uri), "echo ran", PYTHONPATH=str(tmp_path))
    assert ended.code == 74
    assert f"could not fetch 1 objects in 6 tries ({uri}/a)" in ended.failure
    assert "ran" not in ended.log.splitlines()


def test_a_killed_agent_resumes_and_fetches_only_what_is_missing(
    s3_server: S3Server, faulty: FaultProxy, targets: Callable[..., Target]
) -> None:
    one = targets(server=s3_server.behind(faulty.endpoint))
    uri = objects(s3_server, one, {"here": b"1" * 100, "lacking": b"2" * 100, "changed": b"old!"})
    assert one.run(inputs(uri), "true").code == 0
    folder = one.node() / "scratch/inputs/data"
    (folder / "lacking").unlink()
    (folder / "lacking12345678").write_bytes(b"2" * 50)  # what a killed s5cmd leaves
    put(s3_server, f"{uri}/changed", b"new!")
    faulty.requests.clear()
    assert one.run(inputs(uri), "true").code == 0
    assert staged(one) == {"here": b"1" * 100, "lacking": b"2" * 100, "changed": b"new!"}
    assert not [path for method, path in faulty.requests if method == "GET" and path.endswith("/in/here")]


def test_a_signal_during_staging_ends_it_at_once_and_leaves_no_process(
    s3_server: S3Server, faulty: FaultProxy, targets: Callable[..., Target]
) -> None:
    one = targets(server=s3_server.behind(faulty.endpoint))
    uri = objects(s3_server, one, {"a": b"1"})
    faulty.faults = [Fault(method="GET", contains="/in/a", status=503, code="SlowDown")]
    process = one.start(inputs(uri), "echo ran")
    until(lambda: faulty.faults[0].seen)
    process.send_signal(signal.SIGTERM)
    ended = one.wait(timeout_s=20)
    assert ended.code == 143
    assert "stopped by SIGTERM" in ended.failure
    left = subprocess.run(("pgrep", "-f", f"{uri}/"), capture_output=True, text=True, check=False).stdout
    assert left == ""


def test_what_else_ends_the_agent_ends_staging_at_once_and_without_a_word_of_it(
    s3_server: S3Server, faulty: FaultProxy, targets: Callable[..., Target]
) -> None:
    two = targets(nodes=2, server=s3_server.behind(faulty.endpoint))
    uri = objects(s3_server, two, {"a": b"1"})
    faulty.faults = [Fault(method="GET", contains="/in/a", status=503, code="SlowDown")]
    two.start(inputs(uri, control={"connect_s": 3}), "echo ran")
    until(lambda: faulty.faults[0].seen)
    ended = two.wait(timeout_s=20)
    assert ended.code == 75
    assert "node 1 is lost: it did not come" in ended.failure
    assert "still to fetch" not in ended.log
    left = subprocess.run(("pgrep", "-f", f"{uri}/"), capture_output=True, text=True, check=False).stdout
    assert left == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_disk_that_is_too_small_is_told_before_anything_is_fetched(
    s3_server: S3Server, one: Target, small_disk: Path
) -> None:
    uri = objects(s3_server, one, {"model": b"1" * (9 << 20)})
    ended = one.run(inputs(uri), "true", SMTRAIN_SCRATCH_DIR=str(small_disk))
    assert ended.code == 73
    assert "1 objects of 0.00879 GiB do not fit on" in ended.failure
    assert "GiB free" in ended.failure


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_disk_that_fills_up_meanwhile_is_told(
    s3_server: S3Server, faulty: FaultProxy, targets: Callable[..., Target], small_disk: Path
) -> None:
    one = targets(server=s3_server.behind(faulty.endpoint))
    uri = objects(s3_server, one, {"model": b"1" * (7 << 20)})
    faulty.faults = [Fault(method="GET", contains="/in/model", status=503, code="SlowDown")]
    one.start(inputs(uri), "true", SMTRAIN_SCRATCH_DIR=str(small_disk))
    until(lambda: faulty.faults[0].seen)
    (small_disk / "of somebody else").write_bytes(b"0" * (4 << 20))
    faulty.faults = []
    ended = one.wait()
    assert ended.code == 73
    assert "the disk became full" in ended.failure
    assert "no space left" in ended.failure.lower()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(("mount", "-t", "tmpfs", "-o", "size=8m", "none", str(folder)), check=False)
    if mounted.returncode:
        pytest.skip("this machine may not mount a small disk")
    yield folder
    subprocess.run(("umount", str(folder)), check=True)


def test_keys_that_are_no_file_names_are_refused(one: Target) -> None:
    from smtrain.agent import staging
    from smtrain.agent.ending import AgentError

    for names in (("../x",), ("a/../../x",), ("a//b",), ("/a",), ("a", "a/b"), ("x" * 256,), (".",)):
        with pytest.raises(AgentError):
            staging._check_names(names, "s3://b/p")
    staging._check_names(("a", "b/c", "b/d..e", ".hidden", "a.b/c"), "s3://b/p")


def test_the_bucket_of_the_tests_is_there(s3_server: S3Server) -> None:
    assert bucket(s3_server) == "agent"
