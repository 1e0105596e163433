"""Several nodes begin together, end together, and save one checkpoint between them."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from agent_runs import Target, get, output, plan, stored, until
from s3_server import S3Server

KEPT = plan(outputs=[output()])
MARKERS = {".smtrain/node-0.json", ".smtrain/node-1.json"}
# Each node writes its own part; the first one also what is common, and the file that completes the checkpoint.
SAVE = """
save() {
  local folder="$SMTRAIN_OUTPUT_DIR/model/checkpoint-$1"
  mkdir -p "$folder"
  echo "state $1 of $SMTRAIN_NODE_RANK" >"$folder/shard-$SMTRAIN_NODE_RANK"
  echo "common, by $SMTRAIN_NODE_RANK" >"$folder/common"
  if [[ $SMTRAIN_NODE_RANK == 0 ]]; then touch "$folder/done.json"; fi
}
"""


@pytest.fixture
def two(targets: Callable[..., Target]) -> Target:
    return targets(nodes=2)


def start(target: Target, document: dict[str, object], script: str, **env: str) -> None:
    for rank in range(target.nodes):
        target.start(document, script, rank, **env)


def test_all_nodes_succeed_and_the_first_one_alone_stores_the_results(
    s3_server: S3Server, targets: Callable[..., Target]
) -> None:
    three = targets(nodes=3)
    start(three, KEPT, 'mkdir -p "$SMTRAIN_OUTPUT_DIR/model"; echo $SMTRAIN_NODE_RANK >"$SMTRAIN_OUTPUT_DIR/model/by"')
    for rank in range(3):
        ended = three.wait(rank)
        assert ended.code == 0, ended.log
    assert get(s3_server, f"{three.uri}/output/model/by") == b"0\n"


def test_no_node_begins_before_all_are_ready(two: Target) -> None:
    two.start(KEPT, "date +%s.%N >began", 0)
    time.sleep(1.5)
    assert not (two.node(0) / "began").exists()
    two.start(KEPT, "date +%s.%N >began", 1)
    assert two.wait(0).code == two.wait(1).code == 0
    times = [float((two.node(rank) / "began").read_text()) for rank in (0, 1)]
    assert abs(times[0] - times[1]) < 1.5


def test_inputs_come_while_a_node_waits_for_the_others(two: Target, tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "a").write_text("1")
    document = plan(inputs=[{"name": "d", "variable": "V", "uri": str(tmp_path / "rows"), "file": None}])
    two.start(document, 'cat "$V/a"', 0)
    until(lambda: "input d: 1 file" in two.log(0))
    assert (two.node(0) / "scratch/inputs/d/a").exists()
    two.start(document, 'cat "$V/a"', 1)
    assert two.wait(0).code == two.wait(1).code == 0


def test_a_later_first_node_is_waited_for(two: Target) -> None:
    two.start(KEPT, "true", 1)
    time.sleep(1)
    two.start(KEPT, "true", 0)
    assert two.wait(0).code == two.wait(1).code == 0


@pytest.mark.parametrize("failing", [0, 1])
def test_a_failing_node_ends_the_others_with_its_code_and_its_reason(two: Target, failing: int) -> None:
    other = 1 - failing
    script = f"""
if [[ $SMTRAIN_NODE_RANK == {failing} ]]; then
  until [[ -e ../node-{other}/up ]]; do sleep 0.05; done
  echo 'smtrain: step train'; echo 'ValueError: on purpose'; exit 9
fi
trap 'echo asked; exit 143' TERM; touch up; while true; do sleep 0.1; done"""
    began = time.monotonic()
    start(two, KEPT, script)
    first, second = two.wait(failing), two.wait(other)
    assert (first.code, second.code) == (9, 9)
    assert time.monotonic() - began < 25
    head = f"step train failed with exit code 9 on algo-{failing + 1} (node {failing}): ValueError: on purpose"
    assert first.failure.splitlines()[0] == second.failure.splitlines()[0] == head
    assert "asked" in second.log


def test_the_cause_is_told_and_not_what_followed_from_it(two: Target) -> None:
    script = """
if [[ $SMTRAIN_NODE_RANK == 0 ]]; then echo 'torch.distributed.DistBackendError: Connection closed by peer'; exit 1; fi
sleep 0.2; echo 'KeyError: text'; exit 5"""
    start(two, plan(outputs=[output()], control={"settle_s": 3}), script)
    ended = [two.wait(rank) for rank in (0, 1)]
    assert [one.code for one in ended] == [5, 5]
    assert all("on algo-2 (node 1): KeyError: text" in one.failure for one in ended)


def test_an_input_that_one_node_cannot_have_ends_both(two: Target) -> None:
    document = plan(inputs=[{"name": "d", "variable": "V", "uri": "${OWN_INPUT}", "file": None}])
    (two.root / "there").mkdir(parents=True)
    (two.root / "there" / "x").touch()
    two.start(document, "echo ran", 0, OWN_INPUT=str(two.root / "there"))
    two.start(document, "echo ran", 1, OWN_INPUT=str(two.root / "not there"))
    ended = [two.wait(rank) for rank in (0, 1)]
    assert [one.code for one in ended] == [66, 66]
    assert all("there is nothing at" in one.failure and "algo-2 (node 1)" in one.failure for one in ended)
    assert not any("ran" in one.log.splitlines() for one in ended)


@pytest.mark.parametrize("gone", [0, 1])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_machine_that_is_gone_ends_the_others(two: Target, gone: int, how: signal.Signals) -> None:
    start(two, plan(outputs=[output()], control={"lost_s": 3}), "echo up; sleep 60 & wait")
    until(lambda: all("up" in two.log(rank).splitlines() for rank in (0, 1)))
    began = time.monotonic()
    two.started[gone].send_signal(how)
    ended = two.wait(1 - gone, timeout_s=30)
    assert ended.code == 75
    assert f"node {gone} is lost" in ended.failure
    assert time.monotonic() - began < 15
    if how is signal.SIGSTOP:
        two.started[gone].kill()


def test_a_node_that_never_comes_is_told(two: Target) -> None:
    document = plan(control={"connect_s": 2})
    two.start(document, "true", 0)
    ended = two.wait(0)
    assert ended.code == 75
    assert "node 1 is lost: it did not come within 2 s" in ended.failure


def test_strangers_are_refused(two: Target) -> None:
    two.start(KEPT, "true", 0)
    until(lambda: _reachable(two.port))
    for hello in ({"rank": 1, "token": "guessed"}, {"rank": 1}, {}, [], "x" * 100_000):
        stranger = socket.create_connection(("127.0.0.1", two.port), timeout=5)
        with stranger, contextlib.suppress(ConnectionError):
            stranger.sendall(json.dumps(hello).encode() + b"\n")
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert stranger.recv(100) == b""
    two.start(KEPT, "true", 1)
    assert two.wait(0).code == two.wait(1).code == 0
    assert "it is none of this run's nodes" in two.log(0)


def _reachable(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_one_node_opens_no_socket(one: Target) -> None:
    ended = one.run(plan(), "cat /proc/$PPID/net/tcp >/dev/null; ls -l /proc/$PPID/fd", SMTRAIN_MASTER_PORT="")
    assert ended.code == 0
    assert "socket:" not in ended.log


# -------------------------------------------------------------------------------------------------------- checkpoints


@pytest.mark.slow
def test_a_checkpoint_is_stored_by_all_nodes_and_restored_whole_on_each(s3_server: S3Server, two: Target) -> None:
    start(two, KEPT, f"{SAVE} save 7; until [[ -e go ]]; do sleep 0.1; done; exit 1")
    place = f"{two.uri}/checkpoints/model/checkpoint-7"
    until(lambda: stored(s3_server, place).keys() >= MARKERS)
    assert stored(s3_server, place).keys() == {"shard-0", "shard-1", "common", "done.json", *MARKERS}
    assert get(s3_server, f"{place}/common") == b"common, by 0\n"
    for rank in (0, 1):
        (two.node(rank) / "go").touch()
    assert two.wait(0).code == two.wait(1).code == 1
    for rank in (0, 1):
        two.node(rank).rename(two.root / f"gone-{rank}")
    start(two, KEPT, "true")
    for rank in (0, 1):
        ended = two.wait(rank)
        assert ended.code == 0, ended.log
        folder = two.outputs(rank) / "model/checkpoint-7"
        assert {path.name for path in folder.iterdir()} == {"shard-0", "shard-1", "common", "done.json"}


def test_after_sigterm_every_nodes_part_of_the_last_checkpoint_is_stored(s3_server: S3Server, two: Target) -> None:
    script = f"""{SAVE}
trap 'sleep "0.$SMTRAIN_NODE_RANK"; save 12; exit 143' TERM; echo up; while true; do sleep 0.1; done"""
    start(two, KEPT, script)
    until(lambda: all("up" in two.log(rank).splitlines() for rank in (0, 1)))
    for rank in (0, 1):
        two.started[rank].send_signal(signal.SIGTERM)
    assert [two.wait(rank).code for rank in (0, 1)] == [143, 143]
    found = stored(s3_server, f"{two.uri}/checkpoints/model/checkpoint-12").keys()
    assert found == {"shard-0", "shard-1", "common", "done.json", *MARKERS}


def test_a_part_of_an_earlier_save_does_not_complete_a_new_one(s3_server: S3Server, two: Target) -> None:
    start(two, KEPT, f"{SAVE} save 7; exit 1")
    assert two.wait(0).code == two.wait(1).code == 1
    place = f"{two.uri}/checkpoints/model/checkpoint-7"
    marker = json.loads(get(s3_server, f"{place}/.smtrain/node-1.json"))
    s3_server.client().put_object(
        Bucket="agent",
        Key=f"{place.removeprefix('s3://agent/')}/.smtrain/node-1.json",
        Body=json.dumps({**marker, "save": "another"}).encode(),
    )
    for rank in (0, 1):
        two.node(rank).rename(two.root / f"gone-{rank}")
    start(two, KEPT, "true")
    assert two.wait(0).code == two.wait(1).code == 0
    assert "restored" not in two.log(0)


def test_a_checkpoint_that_only_one_node_has_is_not_gone_on_from(two: Target) -> None:
    start(two, KEPT, f"{SAVE} save 7; exit 1")
    assert two.wait(0).code == two.wait(1).code == 1
    newer = two.outputs(0) / "model/checkpoint-9"
    newer.mkdir()
    (newer / "done.json").touch()
    start(two, KEPT, "ls $SMTRAIN_OUTPUT_DIR/model")
    assert two.wait(0).code == two.wait(1).code == 0
    assert not newer.exists()
    assert (two.outputs(0) / "aside-1/checkpoint-9").exists()
    assert (two.outputs(1) / "model/checkpoint-7/done.json").exists()


@pytest.mark.slow
def test_an_older_checkpoint_is_pruned_only_when_every_node_has_stored_the_newer_one(
    s3_server: S3Server, two: Target
) -> None:
    document = plan(outputs=[output(keep=1)], control={"lost_s": 120})
    script = f"{SAVE} save 7; until [[ -e go ]]; do sleep 0.1; done; save 8; until [[ -e stop ]]; do sleep 0.1; done"
    start(two, document, script)
    place = f"{two.uri}/checkpoints/model"
    until(lambda: {f"checkpoint-7/{name}" for name in MARKERS} <= stored(s3_server, place).keys())
    two.started[1].send_signal(signal.SIGSTOP)
    (two.node(0) / "go").touch()
    until(lambda: "uploaded checkpoint-8" in two.log(0))
    assert {f"checkpoint-7/{name}" for name in MARKERS} <= stored(s3_server, place).keys()
    two.started[1].send_signal(signal.SIGCONT)
    (two.node(1) / "go").touch()
    until(lambda: "removed checkpoint-7 from the store" in two.log(0))
    assert {f"checkpoint-8/{name}" for name in MARKERS} <= stored(s3_server, place).keys()
    for rank in (0, 1):
        (two.node(rank) / "stop").touch()
    assert two.wait(0).code == two.wait(1).code == 0
