"""What was trained is kept after success only, and verified."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from agent_runs import Target, get, output, plan, stored, until
from fault_proxy import Fault, proxy
from s3_server import S3Server

WRITE = """
mkdir -p "$SMTRAIN_OUTPUT_DIR/model/checkpoint-1" "$SMTRAIN_OUTPUT_DIR/model/sub" "$SMTRAIN_OUTPUT_DIR/logs"
echo adapter >"$SMTRAIN_OUTPUT_DIR/model/adapter model.safetensors"
echo tokens >"$SMTRAIN_OUTPUT_DIR/model/sub/tokenizer.json"
echo state >"$SMTRAIN_OUTPUT_DIR/model/checkpoint-1/optimizer.pt"
echo log >"$SMTRAIN_OUTPUT_DIR/logs/all.log"
"""
BOTH = [output(), output("logs", model=False, checkpoint_glob="", checkpoint_complete="")]


def test_outputs_are_stored_without_checkpoints(s3_server: S3Server, one: Target) -> None:
    ended = one.run(plan(outputs=BOTH), WRITE)
    assert ended.code == 0, ended.log
    assert stored(s3_server, f"{one.uri}/output") == {
        "model/adapter model.safetensors": 8,
        "model/sub/tokenizer.json": 7,
        "logs/all.log": 4,
    }
    assert get(s3_server, f"{one.uri}/output/model/adapter model.safetensors") == b"adapter\n"


def test_a_failed_command_stores_no_model(s3_server: S3Server, one: Target) -> None:
    assert one.run(plan(outputs=BOTH), f"{WRITE} exit 1").code == 1
    assert stored(s3_server, f"{one.uri}/output") == {}


def test_a_model_that_cannot_be_stored_fails_the_job(s3_server: S3Server, targets: Callable[..., Target]) -> None:
    with proxy(s3_server.endpoint) as faulty:
        one = targets(server=s3_server.behind(faulty.endpoint))
        faulty.faults = [Fault(method="PUT", contains="/output/model/", status=403, code="AccessDenied")]
        ended = one.run(plan(outputs=BOTH), WRITE)
    assert ended.code == 74
    assert ended.failure.startswith("output model could not be stored: access to ")
    assert "s3:PutObject" in ended.failure


def test_small_outputs_are_copied_into_the_platforms_model_folder(s3_server: S3Server, one: Target) -> None:
    document = plan(outputs=BOTH, upload={"model": False, "model_dir": ["model"]})
    ended = one.run(document, WRITE)
    assert ended.code == 0, ended.log
    folder = one.node() / "model"
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {"adapter model.safetensors", "sub/tokenizer.json"}
    assert stored(s3_server, f"{one.uri}/output").keys() == {"logs/all.log"}


def test_results_may_go_to_a_folder(one: Target, tmp_path: Path) -> None:
    one.uri = str(tmp_path / "shared" / "run id")
    ended = one.run(plan(outputs=BOTH), f"{WRITE} touch $SMTRAIN_OUTPUT_DIR/model/checkpoint-1/done.json")
    assert ended.code == 0, ended.log
    place = tmp_path / "shared" / "run id"
    assert (place / "output/model/adapter model.safetensors").read_text() == "adapter\n"
    assert (place / "checkpoints/model/checkpoint-1/optimizer.pt").exists()
    assert not [path for path in place.rglob("*") if "partial" in path.name]


def test_without_a_place_nothing_is_stored_and_nothing_fails(one: Target) -> None:
    one.uri = ""
    assert one.run(plan(outputs=BOTH), WRITE).code == 0


# ----------------------------------------------------------------------------------------------------------- progress

PROGRESS = plan(outputs=[output()], progress={"path": "out/progress.jsonl", "step": "current_steps"})
ROWS = """
mkdir -p "$SMTRAIN_WORK/out"
row() { echo "{\\"current_steps\\": $1, \\"loss\\": $2}" >>"$SMTRAIN_WORK/out/progress.jsonl"; }
save() {
  mkdir -p "$SMTRAIN_OUTPUT_DIR/model/checkpoint-$1"
  echo x >"$SMTRAIN_OUTPUT_DIR/model/checkpoint-$1/done.json"
}
"""


def rows(server: S3Server, target: Target) -> list[tuple[int, float]]:
    lines = get(server, f"{target.uri}/progress.jsonl").decode().splitlines()
    return [(row["current_steps"], row["loss"]) for row in map(json.loads, lines)]


def test_progress_is_stored_while_the_command_runs_in_whole_lines(s3_server: S3Server, one: Target) -> None:
    script = f"""{ROWS} row 1 5; row 2 4; printf '{{"current_st' >>"$SMTRAIN_WORK/out/progress.jsonl"; sleep 60"""
    one.start(PROGRESS, script)
    until(lambda: "progress.jsonl" in stored(s3_server, one.uri))
    until(lambda: rows(s3_server, one) == [(1, 5), (2, 4)])


def test_progress_of_a_failed_run_is_stored_to_its_end(s3_server: S3Server, one: Target) -> None:
    assert one.run(PROGRESS, f"{ROWS} row 1 5; exit 1").code == 1
    assert rows(s3_server, one) == [(1, 5)]


def test_a_resumed_run_continues_the_curve_without_a_gap_or_a_step_twice(s3_server: S3Server, one: Target) -> None:
    assert one.run(PROGRESS, f"{ROWS} row 1 5; row 2 4; save 2; row 3 3.9; exit 1").code == 1
    one.node().rename(one.root / "gone")
    assert one.run(PROGRESS, f"{ROWS} row 3 3; row 4 2").code == 0
    assert rows(s3_server, one) == [(1, 5), (2, 4), (3, 3), (4, 2)]


def test_a_run_that_starts_afresh_has_a_curve_of_its_own(s3_server: S3Server, one: Target) -> None:
    assert one.run(PROGRESS, f"{ROWS} row 1 5; row 2 4; save 2; exit 1").code == 1
    one.node().rename(one.root / "gone")
    assert one.run(PROGRESS, f"{ROWS} row 1 9", SMTRAIN_RESUME="never").code == 0
    assert rows(s3_server, one) == [(1, 9)]
