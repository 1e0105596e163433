"""The agent around the launch script of every backend: resume, signals and the failing step work through both."""

from __future__ import annotations

import json
import signal

from agent_runs import Target, stored, until
from launching import CHECKPOINTS, program, python_step
from s3_server import S3Server

from smtrain import agent_document, launch_script
from smtrain.spec import Program, Progress, Resume

# Counts to ten, saving every third step as trainers do; goes on from the checkpoint that it is given.
TRAINER = """
import json, os, pathlib, signal, sys, time
start, stop_at = 0, int(os.environ["STOP_AT"])
if sys.argv[1:]:
    start = json.loads(pathlib.Path(sys.argv[1], "trainer_state.json").read_text())["step"]
print("starts at", start, flush=True)
step = start
def save():
    folder = pathlib.Path("out", f"checkpoint-{step}")
    folder.mkdir()
    (folder / "weights").write_text(f"weights {step}")
    (folder / "trainer_state.json").write_text(json.dumps({"step": step}))
def on_term(*_):
    save()
    sys.exit(1)
signal.signal(signal.SIGTERM, on_term)
while step < 10:
    step += 1
    with open("out/log.jsonl", "a") as log:
        print(json.dumps({"step": step, "loss": 10 - step}), file=log)
    if step % 3 == 0:
        save()
    if step == stop_at:
        raise ValueError(f"stopped at {step}")
    while stop_at == -step:
        time.sleep(0.1)
pathlib.Path("out/adapter").write_text("trained")
"""
PROGRAM = program(
    python_step(TRAINER, Resume()),
    outputs=(CHECKPOINTS,),
    progress=Progress(path="out/log.jsonl", step="step", total="total", metrics={}),
)


def document(what: Program) -> dict[str, object]:
    options = agent_document.UploadOptions(interval_s=0.2)
    content = agent_document.document(
        what,
        secrets={},
        install=agent_document.InstallOptions(),
        upload=options,
        control=agent_document.ControlOptions(),
    )
    found: dict[str, object] = json.loads(content)
    return found


def start(one: Target, *, stop_at: int) -> None:
    bundle = one.node() / "bundle" / "program"
    bundle.mkdir(parents=True)
    (bundle / "dump.py").write_text("")
    script = launch_script.render(PROGRAM, bindings=': "${SMTRAIN_RUN_DIR:?}"')
    one.start(
        document(PROGRAM),
        script,
        STOP_AT=str(stop_at),
        SMTRAIN_BUNDLE=str(one.node() / "bundle"),
        SMTRAIN_RESUME="auto",
    )


def fresh_machine(one: Target) -> None:
    one.node().rename(one.root / f"gone-{len(list(one.root.iterdir()))}")


def test_a_failed_run_resumes_on_a_new_machine_and_ends_with_the_whole_curve(s3_server: S3Server, one: Target) -> None:
    start(one, stop_at=8)
    failed = one.wait()
    assert failed.code == 1
    assert failed.failure.startswith("step train failed with exit code 1: ValueError: stopped at 8\n")
    fresh_machine(one)
    start(one, stop_at=0)
    ended = one.wait()
    assert ended.code == 0, ended.log
    assert "starts at 6" in ended.log
    assert set(stored(s3_server, f"{one.uri}/output/adapter")) == {"adapter", "log.jsonl"}
    body = s3_server.client().get_object(Bucket="agent", Key=f"{one.uri.removeprefix('s3://agent/')}/progress.jsonl")
    steps = [json.loads(line)["step"] for line in body["Body"].read().splitlines()]
    assert steps == list(range(1, 11))


def test_a_stopped_run_resumes_from_what_it_saved_when_it_was_stopped(s3_server: S3Server, one: Target) -> None:
    start(one, stop_at=-5)
    until(lambda: "starts at 0" in one.log() and "uploaded checkpoint-3" in one.log())
    one.started[0].send_signal(signal.SIGTERM)
    stopped = one.wait()
    assert stopped.code == 143
    assert stopped.failure.startswith("step train was stopped by SIGTERM")
    assert "checkpoint-5/trainer_state.json" in stored(s3_server, f"{one.uri}/checkpoints/adapter")
    fresh_machine(one)
    start(one, stop_at=0)
    ended = one.wait()
    assert ended.code == 0, ended.log
    assert "starts at 5" in ended.log
