"""What goes wrong with a job, from the command to the last process: told in one place, and nothing made twice."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Smtrain
from fault_proxy import Fault, proxy
from plain_jobs import BUCKET, TRAINS, TWO, created, metrics, script, start, stored

from smtrain import receipts

pytest_plugins = ("plain_account", "plain_trainer")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plain_trainer")]

WAITS = "echo ready; sleep 600 & wait"
"""Until it is asked to end."""

COUNTS = """
last=$(ls -d out/checkpoint-*/done 2>/dev/null | sort -V | tail -n 1 | tr -dc 0-9)
step=$((last))
echo "going on from step $step"
while [ $step -lt 6 ]; do
  step=$((step + 1))
  echo "{\\"step\\": $step, \\"total\\": 6, \\"loss\\": $((60 / step))}" >>out/log.jsonl
  mkdir -p out/checkpoint-$step
  echo $step >out/checkpoint-$step/state
  touch out/checkpoint-$step/done
  if [ -z "$last" ] && [ $step = 3 ]; then echo third; sleep 600 & wait; fi
done
cp out/checkpoint-6/state out/adapter.txt
"""
"""Six steps, each with a checkpoint; a first try never comes beyond the third."""


def until(condition: Callable[[], object], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


def submit(smtrain: Smtrain, *words: str) -> str:
    """Submits a run, and returns its id."""
    answer = smtrain("run", *words, "--detach", "--json")
    assert answer.code == 0, answer.out + answer.err
    return str(answer.document["run_id"])


# --------------------------------------------------------------------------------------------------------- a host fails


@pytest.mark.parametrize("code", [1, 2, 137])
def test_the_trainer_of_the_second_host_fails(sagemaker, words, smtrain, code) -> None:
    text = f"""
echo half >out/adapter.txt
if [ $SMTRAIN_NODE_RANK = 1 ]; then echo "ValueError: no such column" >&2; exit {code}; fi
{WAITS}
"""
    run_id = submit(smtrain, *words, *TWO, script(text))
    job = sagemaker.wait(run_id, timeout_s=60)
    assert job["TrainingJobStatus"] == "Failed"
    reason = job["FailureReason"]
    assert f"step train failed with exit code {code} on algo-2 (node 1)" in reason
    assert "ValueError: no such column" in reason
    assert re.search(rf"exit code: {code}$", reason)
    # Both hosts say the same, whichever of them SageMaker hears first.
    assert set(sagemaker.jobs[run_id].exit_codes.values()) == {code}
    status = smtrain("status", run_id)
    assert status.code == 1
    assert f"failed with exit code {code}" in status.out
    assert "algo-2" in status.out
    assert "no such column" in status.out
    assert stored(sagemaker, f"runs/{run_id}/output/") == {}


def test_a_host_that_dies_takes_the_others_along(sagemaker, words, smtrain) -> None:
    run_id = submit(smtrain, *words, *TWO, script(f"echo half >out/adapter.txt; {WAITS}"))
    until(lambda: [host for host, lines in sagemaker.log(run_id).items() if "ready" in lines] == ["algo-1", "algo-2"])
    began = time.monotonic()
    kill_host(sagemaker, run_id, "algo-2")
    job = sagemaker.wait(run_id, timeout_s=60)
    assert time.monotonic() - began < 60
    assert job["TrainingJobStatus"] == "Failed"
    assert sagemaker.jobs[run_id].exit_codes.keys() == {"algo-1", "algo-2"}
    assert stored(sagemaker, f"runs/{run_id}/output/") == {}
    assert smtrain("status", run_id).code == 1


def kill_host(sagemaker, run_id: str, host: str) -> None:
    """Kills the entrypoint of a host, and with it the host."""
    marks = {f"TRAINING_JOB_NAME={run_id}".encode(), f"SMTRAIN_HOST={host}".encode()}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environment = set((entry / "environ").read_bytes().split(b"\0"))
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if marks <= environment and b"/opt/ml/input/data/agent" in words:
            os.kill(int(entry.name), signal.SIGKILL)
            return
    pytest.fail(f"{host} has no agent")


def test_s3_refuses_the_model(sagemaker, words, smtrain) -> None:
    sagemaker.client("s3").put_object(Bucket=BUCKET, Key="models/tiny/config.json", Body=b"{}")
    with proxy(sagemaker.url) as s3:
        s3.faults.append(Fault(contains="models/tiny", status=403, code="AccessDenied"))
        there = f"backend.environment.AWS_ENDPOINT_URL_S3={s3.endpoint}"
        run_id = submit(smtrain, *words, "trainer.reads=s3://bucket/models/tiny", there, script(TRAINS))
        job = sagemaker.wait(run_id, timeout_s=60)
    assert job["TrainingJobStatus"] == "Failed"
    reason = job["FailureReason"]
    assert "s3://bucket/models/tiny" in reason
    assert "AccessDenied" in reason
    assert "training on" not in str(sagemaker.log(run_id))
    status = smtrain("status", run_id)
    assert (status.code, "AccessDenied" in status.out) == (1, True)


# ------------------------------------------------------------------------------------------------------------- go on


def test_a_stopped_job_goes_on_to_the_same_last_step_with_one_curve(sagemaker, words, smtrain) -> None:
    run_id = submit(smtrain, *words, script(COUNTS))
    until(lambda: "3/.smtrain" in str(stored(sagemaker, f"runs/{run_id}/checkpoints/adapter/checkpoint-").keys()))
    assert smtrain("stop", run_id).code == 0
    assert smtrain("status", run_id, "--json").document["state"] == "stopped"
    submit(smtrain, *words, script(COUNTS))
    assert sagemaker.wait(f"{run_id}-t2")["TrainingJobStatus"] == "Completed"
    assert smtrain("status", run_id, "--json").document["tries"] == 2
    assert smtrain("fetch", run_id).code == 0
    assert "going on from step 3" in smtrain("logs", run_id).out
    curve = [(row["step"], row["loss"]) for row in metrics(run_id)]
    assert curve == [(step, 60 // step) for step in range(1, 7)]
    assert stored(sagemaker, f"runs/{run_id}/output/adapter/")["adapter.txt"] == b"6\n"


def test_never_to_resume_is_refused_once_there_is_something_to_resume(sagemaker, words, smtrain) -> None:
    first = (*words, "resume=never", script("exit 3"))
    run_id = submit(smtrain, *first)
    assert sagemaker.wait(run_id)["TrainingJobStatus"] == "Failed"
    assert smtrain("status", run_id).code == 1
    again = smtrain("run", *first)
    assert again.code == 2
    assert "resume" in again.err
    assert "attempt=2" in again.err
    assert len(created(sagemaker, run_id)) == 1
    afresh = submit(smtrain, *first, "attempt=2")
    assert afresh == f"{run_id}-2"
    sagemaker.wait(afresh)
    # Without it, the run is tried again as ever.
    submit(smtrain, *words, script("exit 3"))
    sagemaker.wait(f"{run_id}-t2")
    assert [request["TrainingJobName"] for request in created(sagemaker, run_id)] == [run_id, afresh, f"{run_id}-t2"]


# --------------------------------------------------------------------------------------------------------- one job each


def test_an_answer_that_got_lost_makes_no_second_job(sagemaker, words, smtrain) -> None:
    sagemaker.create_accepts_but_times_out()
    run_id = submit(smtrain, *words, script("echo lost once"))
    assert sagemaker.wait(run_id)["TrainingJobStatus"] == "Completed"
    assert [name for name in sagemaker.jobs if name.startswith(run_id)] == [run_id]
    assert len(created(sagemaker, run_id)) == 2  # the lost one, and the same again, which was refused
    assert smtrain("status", run_id, "--json").document["tries"] == 1


def test_two_at_once_make_one_job(sagemaker, words, smtrain) -> None:
    both = [start("run", *words, script("echo twice at once; sleep 1"), "--detach") for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    (run_dir,) = Path("runs").glob("smtrain-*")
    assert [name for name in sagemaker.jobs if name.startswith(run_dir.name)] == [run_dir.name]
    assert sagemaker.wait(run_dir.name)["TrainingJobStatus"] == "Completed"


def test_a_command_that_was_killed_between_upload_and_create_sends_nothing_again(
    sagemaker, words, smtrain, monkeypatch
) -> None:
    text = script("echo after the kill")
    with proxy(sagemaker.url) as wire:
        monkeypatch.setenv("AWS_ENDPOINT_URL", wire.endpoint)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", wire.endpoint)
        asked = len(sagemaker.calls)
        # The client waits between its tries; there it is killed.
        sagemaker.refuse("CreateTrainingJob", "ThrottlingException")
        process = start("run", *words, text)
        until(lambda: "CreateTrainingJob" in [operation for operation, _ in sagemaker.calls[asked:]])
        process.send_signal(signal.SIGKILL)
        process.communicate()
        sagemaker.refuse("CreateTrainingJob", None)
        sent = [path for method, path in wire.requests if method == "PUT"]
        assert sent
        (run_dir,) = Path("runs").glob("smtrain-*")
        assert receipts.read(run_dir) is None
        wire.requests.clear()
        run_id = submit(smtrain, *words, text)
        assert [path for method, path in wire.requests if method == "PUT"] == []
    assert sagemaker.wait(run_id)["TrainingJobStatus"] == "Completed"
    assert [name for name in sagemaker.jobs if name.startswith(run_id)] == [run_id]
