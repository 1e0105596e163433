"""Checkpoints reach the store whole or not at all, and a later run goes on from the newest whole one."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable

import pytest
from agent_runs import Target, get, output, plan, put, stored, until
from fault_proxy import Fault, proxy
from s3_server import S3Server

from smtrain.agent import folders
from smtrain.agent.plan import PlannedOutput

KEPT = plan(outputs=[output()])
# Writes a whole checkpoint: the file that completes it comes last.
SAVE = """
save() {
  mkdir -p "$SMTRAIN_OUTPUT_DIR/model/checkpoint-$1/sub dir"
  echo "weights $1" >"$SMTRAIN_OUTPUT_DIR/model/checkpoint-$1/model.bin"
  echo "part $1" >"$SMTRAIN_OUTPUT_DIR/model/checkpoint-$1/sub dir/x"
  echo "{}" >"$SMTRAIN_OUTPUT_DIR/model/checkpoint-$1/done.json"
}
"""
FILES = {"model.bin", "sub dir/x", "done.json", ".smtrain/node-0.json"}


def checkpoints(server: S3Server, target: Target) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for key in stored(server, f"{target.uri}/checkpoints/model"):
        name, _, rest = key.partition("/")
        found.setdefault(name, set()).add(rest)
    return found


def test_a_checkpoint_is_uploaded_while_the_command_runs(s3_server: S3Server, one: Target) -> None:
    one.start(KEPT, f"{SAVE} save 10; sleep 60")
    until(lambda: "uploaded checkpoint-10" in one.log())
    assert one.started[0].poll() is None
    assert checkpoints(s3_server, one) == {"checkpoint-10": FILES}
    assert get(s3_server, f"{one.uri}/checkpoints/model/checkpoint-10/model.bin") == b"weights 10\n"
    marker = json.loads(get(s3_server, f"{one.uri}/checkpoints/model/checkpoint-10/.smtrain/node-0.json"))
    assert marker["num_nodes"] == 1
    assert {"path": "sub dir/x", "size": 8} in marker["files"]


@pytest.mark.slow
def test_a_checkpoint_that_is_being_written_is_left_alone(s3_server: S3Server, one: Target) -> None:
    growing = """
mkdir -p "$SMTRAIN_OUTPUT_DIR/model/checkpoint-10"
touch "$SMTRAIN_OUTPUT_DIR/model/checkpoint-10/done.json"
for i in $(seq 6); do echo more >>"$SMTRAIN_OUTPUT_DIR/model/checkpoint-10/model.bin"; sleep 0.9; done
touch grown; sleep 60"""
    one.start(KEPT, growing)
    until((one.node() / "grown").exists)
    assert checkpoints(s3_server, one) == {}
    until(lambda: "uploaded checkpoint-10" in one.log())
    assert stored(s3_server, f"{one.uri}/checkpoints/model/checkpoint-10")["model.bin"] == 30


def test_one_without_its_last_file_is_never_uploaded(s3_server: S3Server, one: Target) -> None:
    script = 'mkdir -p "$SMTRAIN_OUTPUT_DIR/model/checkpoint-10"; >"$SMTRAIN_OUTPUT_DIR/model/checkpoint-10/x"'
    assert one.run(KEPT, script).code == 0
    assert stored(s3_server, one.uri) == {}


def test_the_last_checkpoint_is_stored_even_when_the_command_fails(s3_server: S3Server, one: Target) -> None:
    assert one.run(KEPT, f"{SAVE} save 10; exit 3").code == 3
    assert checkpoints(s3_server, one) == {"checkpoint-10": FILES}


def test_a_checkpoint_saved_after_sigterm_is_stored(s3_server: S3Server, one: Target) -> None:
    script = f"{SAVE} trap 'save 33; exit 143' TERM; echo up; while true; do sleep 0.1; done"
    process = one.start(KEPT, script)
    until(lambda: "up" in one.log())
    process.send_signal(signal.SIGTERM)
    assert one.wait().code == 143
    assert checkpoints(s3_server, one) == {"checkpoint-33": FILES}


@pytest.mark.slow
def test_the_oldest_are_pruned_by_number_and_the_last_is_kept(s3_server: S3Server, one: Target) -> None:
    script = f"""{SAVE}
for i in 9 10 100; do save $i; until [[ -e go-$i ]]; do sleep 0.1; done; done"""
    process = one.start(KEPT, script)
    for number in (9, 10, 100):
        until(lambda number=number: f"uploaded checkpoint-{number}:" in one.log())
        (one.node() / f"go-{number}").touch()
    assert process.wait(20) == 0
    assert checkpoints(s3_server, one).keys() == {"checkpoint-10", "checkpoint-100"}
    assert "removed checkpoint-9 from the store" in one.log()


def test_keeping_all_keeps_all(s3_server: S3Server, one: Target) -> None:
    document = plan(outputs=[output(keep=None)])
    assert one.run(document, f"{SAVE} for i in 1 2 3 4; do save $i; done").code == 0
    assert len(checkpoints(s3_server, one)) == 4


@pytest.mark.slow
def test_a_checkpoint_that_the_trainer_deletes_during_the_upload_gets_no_marker(
    s3_server: S3Server, targets: Callable[..., Target]
) -> None:
    with proxy(s3_server.endpoint) as faulty:
        one = targets(server=s3_server.behind(faulty.endpoint))
        faulty.faults = [Fault(method="PUT", contains="checkpoint-10/", times=3, status=503, code="SlowDown")]
        script = f"""{SAVE} save 10; until [[ -e go ]]; do sleep 0.1; done
rm -r "$SMTRAIN_OUTPUT_DIR/model/checkpoint-10"; save 20; touch removed; until [[ -e stop ]]; do sleep 0.1; done"""
        one.start(KEPT, script)
        until(lambda: faulty.faults[0].seen)
        (one.node() / "go").touch()
        until(lambda: "uploaded checkpoint-20" in one.log(), 60)
        (one.node() / "stop").touch()
        assert one.wait().code == 0
    assert "checkpoint-10/.smtrain/node-0.json" not in stored(s3_server, f"{one.uri}/checkpoints/model")
    assert checkpoints(s3_server, one)["checkpoint-20"] == FILES


@pytest.mark.slow
def test_a_store_that_refuses_checkpoints_does_not_end_the_training(
    s3_server: S3Server, targets: Callable[..., Target]
) -> None:
    with proxy(s3_server.endpoint) as faulty:
        one = targets(server=s3_server.behind(faulty.endpoint))
        faulty.faults = [Fault(method="PUT", contains="/checkpoints/", status=403, code="AccessDenied")]
        ended = one.run(KEPT, f"{SAVE} save 10; sleep 4")
    assert ended.code == 0
    assert "checkpoint-10 could not be uploaded" in ended.log
    assert "s3:PutObject" in ended.log


# ------------------------------------------------------------------------------------------------------------- resume

SHOW = 'cd "$SMTRAIN_OUTPUT_DIR" && find . -type f | sort; ls -A'


def fresh_machine(one: Target) -> None:
    """The next try of a job starts on another machine."""
    one.node().rename(one.root / f"gone-{len(list(one.root.iterdir()))}")


def test_a_new_machine_goes_on_from_the_newest_whole_checkpoint(s3_server: S3Server, one: Target) -> None:
    one.run(KEPT, f"{SAVE} save 9; save 10; exit 1")
    # Newer ones, of which none is whole: no marker; a file lacks; a size differs.
    base = f"{one.uri}/checkpoints/model"
    put(s3_server, f"{base}/checkpoint-99/model.bin", b"half")
    for number, files in ((98, [{"path": "lacking", "size": 1}]), (97, [{"path": "model.bin", "size": 5}])):
        marker = {"format": 1, "node": 0, "num_nodes": 1, "save": "s", "files": files}
        put(s3_server, f"{base}/checkpoint-{number}/model.bin", b"half")
        put(s3_server, f"{base}/checkpoint-{number}/.smtrain/node-0.json", json.dumps(marker).encode())
    put(s3_server, f"{base}/checkpoint-96/.smtrain/node-0.json", b"no json")
    fresh_machine(one)
    ended = one.run(KEPT, SHOW)
    assert ended.code == 0, ended.log
    assert "restored checkpoint-10 of output model" in ended.log
    found = {str(path.relative_to(one.outputs())) for path in one.outputs().rglob("*") if path.is_file()}
    assert found == {f"model/checkpoint-10/{name}" for name in FILES if not name.startswith(".")}
    assert (one.outputs() / "model/checkpoint-10/model.bin").read_text() == "weights 10\n"
    assert not (one.outputs() / ".smtrain-restore").exists()


def test_a_checkpoint_here_that_is_newer_is_not_replaced(s3_server: S3Server, one: Target) -> None:
    one.run(KEPT, f"{SAVE} save 10; exit 1")
    folder = one.outputs() / "model/checkpoint-20"
    folder.mkdir()
    (folder / "done.json").write_text("{}")
    ended = one.run(KEPT, "true")
    assert "restored" not in ended.log
    assert folder.exists()
    # And what was here but not in the store goes there.
    assert checkpoints(s3_server, one).keys() == {"checkpoint-10", "checkpoint-20"}


def test_starting_afresh_restores_nothing_and_forgets_what_was_saved(s3_server: S3Server, one: Target) -> None:
    one.run(KEPT, f"{SAVE} save 50; exit 1")
    fresh_machine(one)
    ended = one.run(KEPT, f"{SAVE} ls -A $SMTRAIN_OUTPUT_DIR/model; save 10; exit 1", SMTRAIN_RESUME="never")
    assert "restored" not in ended.log
    fresh_machine(one)
    assert "restored checkpoint-10" in one.run(KEPT, "true").log


@pytest.mark.slow
def test_a_killed_agent_leaves_no_checkpoint_that_looks_whole(
    s3_server: S3Server, targets: Callable[..., Target]
) -> None:
    with proxy(s3_server.endpoint) as faulty:
        one = targets(server=s3_server.behind(faulty.endpoint))
        faulty.faults = [Fault(method="PUT", contains="checkpoint-10/model.bin", status=503, code="SlowDown")]
        process = one.start(KEPT, f"{SAVE} save 5; until [[ -e go ]]; do sleep 0.1; done; save 10; sleep 30")
        until(lambda: "uploaded checkpoint-5" in one.log())
        (one.node() / "go").touch()
        until(lambda: "checkpoint-10/done.json" in stored(s3_server, f"{one.uri}/checkpoints/model"))
        process.kill()
        process.wait()
        fresh_machine(one)
        faulty.faults = []
        assert "restored checkpoint-5" in one.run(KEPT, "true").log


@pytest.mark.parametrize(
    ("name", "expected"),
    [("checkpoint-100", 100), ("checkpoint-020", 20), ("v2-final", 0), ("epoch3_step7", 7), ("checkpoint-", 0)],
)
def test_the_number_of_a_checkpoint_is_what_its_name_ends_in(name: str, expected: int) -> None:
    assert folders.number(name) == expected


def test_only_stars_and_question_marks_are_wildcards_in_a_pattern() -> None:
    def matches(pattern: str, name: str) -> bool:
        own = PlannedOutput(name="m", model=True, checkpoint_glob=pattern, checkpoint_complete="x", keep=None)
        return folders.is_checkpoint(own, name)

    assert matches("checkpoint-*", "checkpoint-1")
    assert not matches("checkpoint-*", "xcheckpoint-1")
    assert matches("c[k]-?", "c[k]-1")
    assert not matches("c[k]-?", "ck-1")
    assert not matches("", "anything")
    assert not matches("*", ".hidden")
