"""The verbs on real training jobs: compiled, uploaded, executed by the endpoint, followed, stopped and fetched."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

pytest.importorskip("boto3", reason="boto3 is not installed")

from commands import COMMAND, Answer, Smtrain

from smtrain.cli import main

pytest_plugins = ("sagemaker_account", "plain_trainer")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plain_trainer")]

LOSS = 'echo \\\'{"step": 1, "total": 1, "loss": 2.5}\\\' >>out/log.jsonl'
TRAINS = f"""
echo training on $SMTRAIN_NODE_RANK
mkdir out/checkpoint-1
echo state >out/checkpoint-1/shard-$SMTRAIN_NODE_RANK
{LOSS}
touch out/checkpoint-1/done
sleep 2
echo weights >out/adapter.txt
"""
SLEEPS = "trap \\'echo saving; exit 3\\' TERM; echo ready; while true; do sleep 0.1; done"


@pytest.fixture
def smtrain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Smtrain:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CI", raising=False)

    def call(*words: str) -> Answer:
        code = main(words)
        captured = capsys.readouterr()
        return Answer(code=code, out=captured.out, err=captured.err)

    return call


@pytest.fixture
def words(account):
    return (
        *("backend=trainingjob", "trainer=plain", "model.path=ORG/NAME", f"backend.role={account.role}"),
        *("backend.region=us-east-1", "compute.instance_type=ml.m5.large", "storage.output=s3://bucket/runs"),
        *("backend.checkpoints.interval_s=1", "++launcher.kind=torchrun"),
    )


def script(text: str) -> str:
    return f"trainer.script='{text}'"


def receipt(folder: Path) -> dict[str, object]:
    (path,) = folder.glob("runs/*/receipt.json")
    return json.loads(path.read_text())


def test_a_run_on_two_hosts_is_followed_and_its_results_come_here(account, words, tmp_path, smtrain) -> None:
    two = ("compute.nodes=2", "strategy=ddp", script(TRAINS))
    answer = smtrain("run", *words, *two)
    assert answer.code == 0, f"{answer.out}\n{answer.err}"
    run_id = str(receipt(tmp_path)["run_id"])
    assert "algo-1  training on 0" in answer.out
    assert "algo-2  training on 1" in answer.out
    assert "state      succeeded" in answer.out
    assert f"fetch      smtrain fetch {run_id}" in answer.out
    run_dir = tmp_path / "runs" / run_id
    assert [json.loads(row)["loss"] for row in (run_dir / "metrics.jsonl").read_text().splitlines()] == [2.5]
    assert float(receipt(tmp_path)["usd"]) > 0

    assert smtrain("fetch", run_id, "--model", "--checkpoints").code == 0
    assert (run_dir / "output" / "adapter" / "adapter.txt").read_text() == "weights\n"
    assert sorted(path.name for path in (run_dir / "output" / "adapter" / "checkpoint-1").iterdir()) == [
        "done", "shard-0", "shard-1",
    ]  # fmt: skip
    status = smtrain("status", run_id)
    assert (status.code, f"job        {run_id}" in status.out) == (0, True)
    assert "training on 0" in smtrain("logs", run_id).out
    again = smtrain("run", *words, *two).out
    assert "succeeded before" in again, again


def test_a_run_that_fails_says_why_everywhere(account, words, tmp_path, smtrain) -> None:
    answer = smtrain("run", *words, script("echo no more memory >&2; exit 7"))
    assert answer.code == 1, f"{answer.out}\n{answer.err}"
    assert "state      failed with exit code 7: AlgorithmError" in answer.out
    status = smtrain("status", str(receipt(tmp_path)["run_id"]))
    assert status.code == 1
    assert "no more memory" in status.out
    assert not list(tmp_path.glob("runs/*/metrics.jsonl"))  # there was no progress
    account.refuse("DescribeLogStreams", "AccessDeniedException")
    try:
        unseen = smtrain("status", str(receipt(tmp_path)["run_id"]))
    finally:
        account.refuse("DescribeLogStreams", None)
    assert (unseen.code, "state      failed" in unseen.out) == (1, True)
    assert "warning: logs:DescribeLogStreams was refused" in unseen.err


def test_an_interrupt_leaves_the_job_and_stop_ends_it(words, tmp_path, smtrain) -> None:
    command = (*COMMAND, "run", *words, script(SLEEPS))
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any(line == "ready\n" for line in process.stdout)
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    run_id = str(receipt(tmp_path)["run_id"])
    assert (process.returncode, f"smtrain stop {run_id}" in rest) == (130, True)
    assert smtrain("status", run_id, "--json").document["state"] == "running"
    assert "so far" in smtrain("ps").out
    assert smtrain("stop", run_id).out == f"{run_id}: stopped\n"
    assert "saving" in smtrain("logs", run_id).out


def test_whoever_follows_may_leave_and_the_job_goes_on_to_its_end(account, words, tmp_path, smtrain) -> None:
    two = ("compute.nodes=2", "strategy=ddp", script(f"echo ready; until [[ -e {tmp_path}/go ]]; do sleep 0.1; done"))
    with subprocess.Popen((*COMMAND, "run", *words, *two), cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any(line == "algo-1  ready\n" for line in process.stdout)
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    run_id = str(receipt(tmp_path)["run_id"])
    assert (process.returncode, f"{run_id} goes on without you" in rest) == (130, True)
    (tmp_path / "go").touch()
    assert account.wait(run_id)["TrainingJobStatus"] == "Completed"


def test_a_sweep_submits_every_point(account, words, tmp_path, smtrain) -> None:
    answer = smtrain("-m", *words, script("sleep 1"), "seed=1,2", "env.SEED=${seed}")
    assert answer.code == 0, f"{answer.out}\n{answer.err}"
    deadline = time.monotonic() + 120
    while {row["state"] for row in smtrain("ps", "--json").document} != {"succeeded"}:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert len(smtrain("ps", "--json").document) == 2


def test_the_doctor_looks_at_the_account(account, words, smtrain) -> None:
    account.refuse("ListServiceQuotas", "AccessDeniedException")
    try:
        answer = smtrain("doctor", *words)
    finally:
        account.refuse("ListServiceQuotas", None)
    assert "✓ role" in answer.out
    assert "✓ output bucket" in answer.out
    assert "? quota" in answer.out
    assert (answer.code, "✗ image" in answer.out) == (5, True)  # moto has no images of AWS


def test_a_rehearsal_runs_the_request_itself(words, tmp_path, smtrain) -> None:
    answer = smtrain("rehearse", *words, "compute.nodes=2", "strategy=ddp", script(f"echo steps $STEPS; {LOSS}"))
    assert answer.code == 0, f"{answer.out}\n{answer.err}"
    assert "algo-2  " in answer.out
    assert "steps 3" in answer.out
    assert smtrain("ps").out == "no runs in runs\n"
