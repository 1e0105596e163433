"""`smtrain run` and `smtrain submit`: real processes, through the local backend."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from commands import COMMAND, FAILS, SLEEPS, TRAINS, Smtrain, interpreter

WORDS = ("data=alpaca", "data.path=rows.jsonl", "compute=cpu")


def test_a_run_that_succeeds_ends_with_zero_and_shows_where_its_results_are(here: Path, smtrain: Smtrain) -> None:
    answer = smtrain("run", *WORDS, interpreter(here, TRAINS))
    assert answer.code == 0
    (run_dir,) = here.glob("runs/smtrain-*")
    assert f"{run_dir.name}: lf_sft on local" in answer.out
    assert "working on step 1" in answer.out
    assert "smtrain: step 2/2  loss 1.5" in answer.out
    assert "state      succeeded" in answer.out
    assert f"results    runs/{run_dir.name}/output" in answer.out
    assert (run_dir / "output" / "train" / "adapter.txt").is_file()
    assert [json.loads(row)["loss"] for row in (run_dir / "metrics.jsonl").read_text().splitlines()] == [2.5, 1.5]


def test_json_is_one_document_and_no_prose(here: Path, smtrain: Smtrain) -> None:
    document = smtrain("run", *WORDS, interpreter(here, TRAINS), "--json").document
    assert document.keys() == {
        "run_id", "backend", "state", "started", "ended", "step", "exit_code", "run_dir", "outputs",
        "job", "tries", "reason", "usd", "hosts", "url",
    }  # fmt: skip
    assert (document["state"], document["exit_code"], document["backend"]) == ("succeeded", 0, "local")
    assert {"results", "metrics", "log", "bundle"} <= document["outputs"].keys()
    assert all((here / place).exists() for place in document["outputs"].values())


def test_a_run_that_fails_ends_with_one_and_keeps_the_exit_code(here: Path, smtrain: Smtrain) -> None:
    answer = smtrain("run", *WORDS, interpreter(here, FAILS))
    assert answer.code == 1
    assert "something went wrong" in answer.out
    assert "state      failed: step `train` ended with exit code 7" in answer.out
    (path,) = here.glob("runs/*/receipt.json")
    receipt = json.loads(path.read_text())
    assert (receipt["state"], receipt["exit_code"], receipt["step"]) == ("failed", 7, "train")
    assert "reason" not in answer.out


RAISES = """\
#!/bin/sh
cat <<'END'
Traceback (most recent call last):
  File "train.py", line 3, in main
[rank1]: ValueError: there is no column `chosne`
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
END
exit 1
"""


def test_the_exception_of_a_run_that_fails_is_told_at_its_end(here: Path, smtrain: Smtrain) -> None:
    answer = smtrain("run", *WORDS, interpreter(here, RAISES))
    assert answer.code == 1
    end = answer.out[answer.out.index("state      failed") :]
    assert "reason     ValueError: there is no column `chosne`" in end
    (path,) = here.glob("runs/*/receipt.json")
    assert json.loads(path.read_text())["reason"] == "ValueError: there is no column `chosne`"
    assert "reason     ValueError: there is no column `chosne`" in smtrain("status", path.parent.name).out


def test_json_of_a_failed_run_is_its_receipt(here: Path, smtrain: Smtrain) -> None:
    answer = smtrain("run", *WORDS, interpreter(here, FAILS), "--json")
    assert answer.code == 1
    assert (answer.document["state"], answer.document["exit_code"]) == ("failed", 7)


def test_no_verb_means_run(here: Path, smtrain: Smtrain) -> None:
    assert smtrain(*WORDS, interpreter(here, TRAINS), "--json").document["state"] == "succeeded"


def test_what_succeeded_before_is_run_again_only_when_asked(here: Path, smtrain: Smtrain) -> None:
    words = ("run", *WORDS, interpreter(here, TRAINS), "--json")
    first = smtrain(*words).document
    assert smtrain(*words).document == first
    other = smtrain(*words, "attempt=2").document
    assert other["run_id"] == f"{first['run_id']}-2"
    assert other["started"] > first["started"]


def test_what_failed_before_is_run_again(here: Path, smtrain: Smtrain) -> None:
    words = ("run", *WORDS, interpreter(here, FAILS), "--json")
    assert smtrain(*words).document["state"] == "failed"
    interpreter(here, TRAINS)
    assert smtrain(*words).document["state"] == "succeeded"


def test_a_run_waits_for_what_an_interrupt_ends(here: Path) -> None:
    command = (*COMMAND, "run", *WORDS, interpreter(here, SLEEPS))
    with subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == "ready\n":
                break
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
    assert process.returncode == 130
    assert "state      stopped" in rest
    (path,) = here.glob("runs/*/receipt.json")
    assert json.loads(path.read_text())["state"] == "stopped"


def test_a_run_in_the_background_is_left_alone(here: Path, smtrain: Smtrain) -> None:
    document = smtrain("run", *WORDS, interpreter(here, f"sleep 1\n{TRAINS}"), "--detach", "--json").document
    assert (document["state"], document["exit_code"]) == ("running", None)
    deadline = time.monotonic() + 60
    while (status := smtrain("status", document["run_id"], "--json")).document["state"] == "running":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert (status.code, status.document["state"]) == (0, "succeeded")


def test_an_interpreter_that_is_not_there_is_told(here: Path, smtrain: Smtrain) -> None:
    answer = smtrain("run", *WORDS, "backend.python=nowhere/python")
    assert answer.code == 4
    assert "nowhere/python: set backend.python" in answer.out


class TestSubmit:
    @pytest.fixture
    def run_dir(self, here: Path, smtrain: Smtrain) -> Path:
        return here / smtrain("plan", *WORDS, interpreter(here, TRAINS), "--json").document["run_dir"]

    @pytest.mark.parametrize("folder", ["", "bundle"])
    def test_the_folder_of_the_run_or_of_the_bundle_is_launched(
        self, folder: str, run_dir: Path, smtrain: Smtrain
    ) -> None:
        answer = smtrain("submit", str(run_dir / folder), "--json")
        assert (answer.code, answer.document["state"]) == (0, "succeeded")
        assert answer.document["run_id"] == run_dir.name

    def test_a_failing_workload_ends_with_one(self, run_dir: Path, here: Path, smtrain: Smtrain) -> None:
        interpreter(here, FAILS)
        assert smtrain("submit", str(run_dir)).code == 1

    def test_a_changed_bundle_is_refused(self, run_dir: Path, smtrain: Smtrain) -> None:
        with (run_dir / "bundle" / "program" / "train.yaml").open("a") as file:
            file.write("max_steps: 1\n")
        answer = smtrain("submit", str(run_dir))
        assert answer.code == 2
        assert "program/train.yaml was changed" in answer.err
        assert not (run_dir / "receipt.json").exists()

    def test_a_folder_without_a_bundle_is_refused(self, here: Path, smtrain: Smtrain) -> None:
        answer = smtrain("submit", str(here))
        assert answer.code == 2
        assert "manifest.json" in answer.err

    def test_only_the_folder_is_read(self, run_dir: Path, here: Path, smtrain: Smtrain) -> None:
        os.unlink(here / "rows.jsonl")  # noqa: PTH108  # what the configuration named is of no matter any more
        assert smtrain("submit", str(run_dir)).code == 0
