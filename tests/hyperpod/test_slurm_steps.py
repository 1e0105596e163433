"""Steps that are jobs of their own in a real Slurm, each waiting for the one before."""

from __future__ import annotations

from pathlib import Path

import pytest
from slurm_jobs import COUNTS, script, submit, until

pytest_plugins = ("slurm_runs", "plain_trainer")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plain_trainer")]

TRAINS = """
echo "training on $SMTRAIN_NODE_RANK of $SMTRAIN_NUM_NODES"
if [ $SMTRAIN_NODE_RANK = 0 ]; then echo weights >out/adapter.txt; fi
"""
SPLIT = ("++backend.steps.report.nodes=1",)


def then(text: str) -> str:
    """Returns the override that has the first node run this afterwards."""
    return script(text).replace("trainer.script", "++trainer.then")


def test_a_step_runs_as_a_job_of_its_own_on_nodes_of_its_own(smtrain, words, slurm_machine) -> None:
    report = then('echo "reporting on $SMTRAIN_NUM_NODES: $(cat out/adapter.txt)"; echo good >out/report.txt')
    run_id, job = submit(smtrain, *words, *SPLIT, script(f"{TRAINS}sleep 3"), report)
    first, second = job.split(",")
    assert slurm_machine.field(second, "NumNodes") in ("1", "1-1")
    assert slurm_machine.field(second, "Dependency").startswith(f"afterok:{first}")
    assert "pending: Dependency" not in smtrain("status", run_id).out  # the first one is what goes on
    followed = smtrain("logs", run_id, "-f")
    assert "training on 1 of 2" in followed.out
    assert "reporting on 1: weights" in followed.out
    ended = smtrain("status", run_id, "--json").document
    assert (ended["state"], ended["step"]) == ("succeeded", "report")
    assert smtrain("fetch", run_id, "--model").code == 0
    assert Path("runs", run_id, "output/adapter/report.txt").read_text() == "good\n"
    assert Path("runs", run_id, "output/adapter/adapter.txt").read_text() == "weights\n"


def test_what_waits_for_a_step_that_fails_never_runs(smtrain, words, slurm_machine) -> None:
    run_id, job = submit(smtrain, *words, *SPLIT, script("exit 3"), then("echo reporting"))
    _, second = job.split(",")
    slurm_machine.until(second, "CANCELLED")
    ended = smtrain("status", run_id, "--json").document
    assert (ended["state"], ended["exit_code"], ended["step"]) == ("failed", 3, "train")
    assert "reporting" not in smtrain("logs", run_id).out


def test_the_exit_code_of_a_later_step_is_the_runs(smtrain, words, slurm_machine) -> None:
    run_id, job = submit(smtrain, *words, *SPLIT, script(TRAINS), then("exit 5"))
    slurm_machine.until(job.split(",")[1], "FAILED")
    ended = smtrain("status", run_id, "--json").document
    assert (ended["state"], ended["exit_code"], ended["step"]) == ("failed", 5, "report")


def test_a_stopped_run_begins_no_further_step(smtrain, words, slurm_machine) -> None:
    run_id, job = submit(smtrain, *words, *SPLIT, script(COUNTS), then("echo reporting"))
    until(lambda: "first" in smtrain("logs", run_id).out)
    assert smtrain("stop", run_id).code == 0
    first, second = job.split(",")
    slurm_machine.until(second, "CANCELLED")
    slurm_machine.until(first, "FAILED")
    assert smtrain("status", run_id, "--json").document["state"] == "stopped"
    assert "saving" in smtrain("logs", run_id).out


def test_a_run_is_stopped_in_its_second_job(smtrain, words, slurm_machine) -> None:
    run_id, job = submit(smtrain, *words, *SPLIT, script(TRAINS), then("echo begun; sleep 600"))
    until(lambda: "begun" in smtrain("logs", run_id).out)
    assert smtrain("stop", run_id).code == 0
    first, second = job.split(",")
    slurm_machine.until(second, "FAILED")
    assert slurm_machine.field(first, "JobState") == "COMPLETED"
    assert smtrain("status", run_id, "--json").document["state"] == "stopped"


def test_submitting_again_after_a_lost_answer_makes_what_is_missing_alone(
    smtrain, words, slurm_machine, shared
) -> None:
    over = (*words, *SPLIT, script("sleep 60"), then("echo reporting"))
    run_id, job = submit(smtrain, *over)
    first, second = job.split(",")
    Path("runs", run_id, "receipt.json").unlink()
    (shared / "runs" / run_id / "jobs" / run_id).unlink()
    assert submit(smtrain, *over) == (run_id, job)
    smtrain("stop", run_id)
    smtrain("stop", run_id)
    slurm_machine.until(first, "CANCELLED", "FAILED")
    slurm_machine.until(second, "CANCELLED")


def test_what_the_cluster_lacks_for_a_later_job_is_told_by_the_key_of_that_job(smtrain, words, slurm_machine) -> None:
    before = slurm_machine.jobs()
    own = "++backend.steps.report.partition=nowhere"
    answer = smtrain("run", *words, *SPLIT, own, script(TRAINS), then("echo reporting"), "--detach")
    assert answer.code == 5
    assert "backend.steps.report.partition: There is no partition `nowhere`" in answer.err
    assert slurm_machine.jobs() <= before  # one of a test before may have ended meanwhile


@pytest.mark.parametrize(
    ("override", "key", "said"),
    [
        ("++backend.steps.reprot.nodes=1", "backend.steps.reprot", "no step `reprot`"),
        ("++backend.steps.train.nodes=1", "backend.steps.train", "is the first step"),
        ("++backend.steps.report={time: soon}", "backend.steps.report.time", "no time limit"),
        ("++backend.steps.report={mem: much}", "backend.steps.report.mem", "no size"),
        ("storage.output=s3://bucket/runs", "backend.steps", "Results go to S3"),
        ("backend.array=true", "backend.array", "one job"),
    ],
)
def test_a_split_that_cannot_be_is_refused(smtrain, words, override, key, said) -> None:
    answer = smtrain("plan", *words, *SPLIT, script(TRAINS), then("echo reporting"), override)
    assert answer.code == 2
    assert f"{key}:" in answer.err
    assert said in answer.err


def test_the_plan_tells_of_the_later_job(smtrain, words) -> None:
    answer = smtrain("plan", *words, *SPLIT, "++backend.steps.report.partition=infer", script(TRAINS), then("true"))
    assert answer.code == 0, answer.err
    assert "step report, 1 node, partition infer: a job that waits for the one before" in answer.out
