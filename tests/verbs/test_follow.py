"""ps, status, logs and stop, of a run in the background."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import COMMAND, FAILS, SLEEPS, Smtrain, interpreter

from smtrain import process_tree

WORDS = ("data=alpaca", "data.path=rows.jsonl", "compute=cpu", "backend.grace_s=5")


@pytest.fixture
def sleeping(here: Path, smtrain: Smtrain) -> Iterator[str]:
    """The id of a run in the background that sleeps."""
    document = smtrain("run", *WORDS, interpreter(here, SLEEPS), "-d", "--json").document
    run_id = str(document["run_id"])
    deadline = time.monotonic() + 60
    while "ready" not in smtrain("logs", run_id).out:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    yield run_id
    process_tree.end(here / "runs" / run_id, grace_s=0)


def test_a_run_in_the_background_is_listed_shown_and_ended(sleeping: str, smtrain: Smtrain) -> None:
    assert f"{sleeping}  running    local" in smtrain("ps").out
    status = smtrain("status", sleeping)
    assert status.code == 0
    assert "state      running" in status.out

    stopped = smtrain("stop", sleeping)
    assert (stopped.code, stopped.out) == (0, f"{sleeping}: stopped\n")
    assert f"{sleeping}  stopped    local" in smtrain("ps").out
    document = smtrain("status", sleeping, "--json").document
    assert (document["state"], document["exit_code"], document["step"]) == ("stopped", 143, "train")


def test_logs_follow_until_the_run_ends(sleeping: str, here: Path, smtrain: Smtrain) -> None:
    command = (*COMMAND, "logs", sleeping, "-f")
    with subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline() == "smtrain: step train\n"
        assert follower.stdout.readline() == "ready\n"
        assert smtrain("stop", sleeping).code == 0
        assert follower.stdout.read() == "saving\n"
        assert follower.wait(30) == 0


def test_the_beginning_of_an_id_will_do(sleeping: str, smtrain: Smtrain) -> None:
    assert smtrain("status", sleeping[:12], "--json").document["run_id"] == sleeping


def test_what_runs_already_is_not_started_twice(sleeping: str, here: Path, smtrain: Smtrain) -> None:
    answer = smtrain("run", *WORDS, "backend.python=stand-in/python")
    assert answer.code == 2
    assert f"Run `{sleeping}` is going already" in answer.err
    assert smtrain("status", sleeping, "--json").document["state"] == "running"


def test_the_status_of_a_failed_run_is_one_and_shows_the_end_of_its_log(here: Path, smtrain: Smtrain) -> None:
    run_id = smtrain("run", *WORDS, interpreter(here, FAILS), "--json").document["run_id"]
    answer = smtrain("status", run_id)
    assert answer.code == 1
    assert "step       train ended with exit code 7" in answer.out
    assert "something went wrong" in answer.out
    assert smtrain("logs", run_id).out.splitlines()[1] == "something went wrong"


def test_logs_in_json_are_one_document_a_line(here: Path, smtrain: Smtrain) -> None:
    run_id = smtrain("run", *WORDS, interpreter(here, FAILS), "--json").document["run_id"]
    assert '{"line": "something went wrong"}' in smtrain("logs", run_id, "--json").out.splitlines()


def test_ps_lists_the_newest_first(here: Path, smtrain: Smtrain) -> None:
    python = interpreter(here, FAILS)
    ids = [smtrain("run", *WORDS, python, f"seed={seed}", "--json").document["run_id"] for seed in (1, 2, 3)]
    assert [row["run_id"] for row in smtrain("ps", "--json").document] == ids[::-1]


def test_ps_of_an_empty_folder_says_so(smtrain: Smtrain) -> None:
    assert smtrain("ps").out == "no runs in runs\n"
    assert smtrain("ps", "--json").document == []


def test_a_run_that_was_only_planned_is_told_how_to_be_launched(smtrain: Smtrain) -> None:
    run_id = smtrain("plan", *WORDS, "--json").document["run_id"]
    assert smtrain("ps").out == "no runs in runs\n"
    answer = smtrain("status", run_id)
    assert answer.code == 2
    assert f"smtrain submit runs/{run_id}" in answer.err


def test_an_unknown_run_is_an_error(smtrain: Smtrain) -> None:
    assert [smtrain(verb, "nothing").code for verb in ("status", "logs", "stop")] == [2, 2, 2]
