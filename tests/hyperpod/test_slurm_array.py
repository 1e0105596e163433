"""Sweeps as job arrays of a real Slurm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import Smtrain
from slurm_jobs import COUNTS, script, until

pytest_plugins = ("slurm_runs", "plain_trainer")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plain_trainer")]

ARRAY = ("compute.nodes=1", "backend.array=true")


def sweep(smtrain: Smtrain, *words: str) -> list[dict[str, object]]:
    """Submits a sweep, and returns what was said of each run."""
    answer = smtrain("-m", *words, "--json")
    assert answer.code == 0, answer.out + answer.err
    return [json.loads(line) for line in answer.out.splitlines()]


def scripts(*texts: str) -> str:
    """Returns the override that has each run of a sweep run one of these scripts."""
    return script(texts[0]) + "".join("," + script(text).partition("=")[2] for text in texts[1:])


def ends(smtrain: Smtrain, runs: list[dict[str, object]]) -> list[dict[str, object]]:
    """Waits until all runs are over, and returns what is then said of them."""
    found: dict[str, dict[str, object]] = {}

    def over() -> bool:
        for run in runs:
            found[str(run["run_id"])] = smtrain("status", str(run["run_id"]), "--json").document
        return all(each["state"] != "running" for each in found.values())

    until(over)
    return list(found.values())


def test_a_sweep_of_four_is_one_array_that_goes_two_at_a_time(smtrain, words, slurm_machine) -> None:
    texts = [f"echo point {number}; sleep 1" for number in range(4)]
    runs = sweep(smtrain, *words, *ARRAY, "backend.array_limit=2", scripts(*texts))
    jobs = [str(run["job"]) for run in runs]
    array = jobs[0].partition("_")[0]
    assert jobs == [f"{array}_{task}" for task in range(4)]
    assert slurm_machine.field(jobs[3], "ArrayTaskThrottle") == "2"
    assert [run["state"] for run in ends(smtrain, runs)] == ["succeeded"] * 4
    for number, run in enumerate(runs):
        log = smtrain("logs", str(run["run_id"])).out
        assert f"point {number}" in log
        assert f"point {(number + 1) % 4}" not in log


def test_the_sweep_again_submits_what_failed_alone(smtrain, words, tmp_path) -> None:
    switch = tmp_path / "switch"
    over = (*words, *ARRAY, scripts("echo fine", f"[ -e {switch} ] || exit 3", "echo fine too"))
    runs = sweep(smtrain, *over)
    assert [(run["state"], run["exit_code"]) for run in ends(smtrain, runs)] == [
        ("succeeded", 0),
        ("failed", 3),
        ("succeeded", 0),
    ]
    switch.touch()
    again = sweep(smtrain, *over)
    assert [run["state"] for run in again] == ["succeeded", "running", "succeeded"]
    assert [new["job"] == old["job"] for new, old in zip(again, runs, strict=True)] == [True, False, True]
    assert [run["state"] for run in ends(smtrain, again)] == ["succeeded"] * 3


def test_a_sweep_that_goes_is_not_submitted_again(smtrain, words, shared, slurm_machine) -> None:
    over = (*words, *ARRAY, scripts("echo one; sleep 60", "echo two; sleep 60"))
    runs = sweep(smtrain, *over)
    jobs = [run["job"] for run in runs]
    assert [run["job"] for run in sweep(smtrain, *over)] == jobs
    # Nor where all that was written down of the first time got lost.
    for run in runs:
        Path("runs", str(run["run_id"]), "receipt.json").unlink()
        (shared / "runs" / str(run["run_id"]) / "jobs" / str(run["run_id"])).unlink()
    for path in (shared / "arrays").glob("*/jobs/*"):
        path.unlink()
    assert [run["job"] for run in sweep(smtrain, *over)] == jobs
    # One of them is stopped, and the other goes on.
    assert smtrain("stop", str(runs[0]["run_id"])).code == 0
    until(lambda: smtrain("status", str(runs[0]["run_id"]), "--json").document["state"] == "stopped")
    assert smtrain("status", str(runs[1]["run_id"]), "--json").document["state"] == "running"
    slurm_machine.ask("scancel", str(jobs[1]))


def test_a_run_that_is_stopped_before_it_began_is_stopped(smtrain, words) -> None:
    runs = sweep(smtrain, *words, *ARRAY, "++backend.begin=now+1hour", scripts("echo one", "echo two"))
    for run in runs:
        assert smtrain("stop", str(run["run_id"])).code == 0
        assert smtrain("status", str(run["run_id"]), "--json").document["state"] == "stopped"


def test_before_the_time_limit_each_of_an_array_goes_back_into_the_queue_by_itself(
    smtrain, words, slurm_machine
) -> None:
    limit = ("backend.time='1:20'", "backend.requeue.lead_s=70", "backend.grace_s=10")
    # The last task has the id of the array itself: who names that id means all tasks.
    runs = sweep(smtrain, *words, *ARRAY, *limit, scripts("echo done", COUNTS))
    assert [run["state"] for run in ends(smtrain, runs)] == ["succeeded", "succeeded"]
    assert [slurm_machine.field(str(run["job"]), "Restarts") for run in runs] == ["0", "1"]
    assert "going on from step 2" in smtrain("logs", str(runs[1]["run_id"])).out


def test_a_metric_that_nobody_waits_for_is_refused(smtrain, words) -> None:
    answer = smtrain("-m", *words, *ARRAY, scripts("echo one", "echo two"), "objective=loss")
    assert answer.code == 2
    assert "objective: The jobs of the sweep go to their target together" in answer.err


def test_runs_that_ask_for_different_things_are_refused_and_none_is_submitted(smtrain, words, slurm_machine) -> None:
    before = slurm_machine.jobs()
    answer = smtrain("-m", *words, *ARRAY, script("sleep 60"), "backend.time='1:00:00','2:00:00'")
    assert answer.code == 2
    assert "backend.array" in answer.err
    assert "--time=1:00:00" in answer.err
    assert "--time=2:00:00" in answer.err
    assert slurm_machine.jobs() <= before  # one of a test before may have ended meanwhile
