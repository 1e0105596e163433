"""A Slurm job whose nodes keep nothing: results and checkpoints go to a real S3 server, and come back from there."""

from __future__ import annotations

from pathlib import Path

import pytest
from agent_runs import bucket, put, stored
from s3_server import S3Server
from slurm_jobs import COUNTS, script, submit, until

pytest_plugins = ("slurm_runs", "plain_trainer")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plain_trainer")]


@pytest.fixture
def to_s3(words, smtrain, s3_server: S3Server, monkeypatch, tmp_path) -> tuple[str, ...]:
    """The overrides of a run that keeps its results in S3."""
    del smtrain  # which goes to its folder first
    for name, value in s3_server.env.items():
        monkeypatch.setenv(name, value)
    output = f"s3://{bucket(s3_server)}/{tmp_path.name}"
    return (*words, f"storage.output={output}", "backend.region=us-east-1", "backend.checkpoints.interval_s=1")


def test_a_stopped_run_goes_on_from_its_checkpoint_in_s3_on_whatever_nodes(to_s3, smtrain, s3_server) -> None:
    run_id, _ = submit(smtrain, *to_s3, script(COUNTS))
    uri = next(word.partition("=")[2] for word in to_s3 if word.startswith("storage.output=")) + f"/{run_id}"
    until(lambda: "checkpoints/adapter/checkpoint-1/.smtrain/node-1.json" in stored(s3_server, uri))
    smtrain("stop", run_id)
    until(lambda: smtrain("status", run_id, "--json").document["state"] == "stopped")
    # Whatever nodes come next have nothing of it.
    scratch = next(word.partition("=")[2] for word in to_s3 if "scratch_dir" in word)
    for left in Path(scratch).iterdir():
        left.rename(left.with_name(f"lost-{left.name}"))
    answer = smtrain("run", *to_s3, script(COUNTS), "--json")
    assert answer.code == 0, answer.out + answer.err
    log = smtrain("logs", run_id).out
    assert "restored checkpoint-" in log
    assert "output/adapter/adapter.txt" in stored(s3_server, uri)
    assert smtrain("fetch", run_id, "--model", "--checkpoints").code == 0
    assert Path("runs", run_id, "output/adapter/adapter.txt").exists()
    assert list(Path("runs", run_id, "output/adapter").glob("checkpoint-*/state"))


def test_inputs_in_s3_come_to_every_nodes_own_disk(to_s3, smtrain, s3_server) -> None:
    uri = f"s3://{bucket(s3_server)}/models/base"
    put(s3_server, f"{uri}/config.json", b"{}")
    answer = smtrain("run", *to_s3, f"trainer.reads={uri}", script("cat model/config.json"), "--json")
    assert answer.code == 0, answer.out + answer.err
    log = smtrain("logs", answer.document["run_id"]).out
    assert log.count("input model: 1 file") == 2


def test_an_input_that_is_not_there_is_told_before_anything_is_sent(to_s3, smtrain, s3_server) -> None:
    answer = smtrain("run", *to_s3, f"trainer.reads=s3://{bucket(s3_server)}/nothing", script("true"), "--detach")
    assert answer.code == 5
    assert "nothing" in answer.err
