from __future__ import annotations

import dataclasses
import fcntl
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from smtrain import process_tree, receipts, run_folders, runs
from smtrain.errors import SmtrainError
from smtrain.process_tree import Process
from smtrain.spec import Receipt, State

RECEIPT = Receipt(run_id="a-1", backend="local", state=State.RUNNING, step="train", started=1.5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("sft-abc123", "sft-abd456", "dpo-000000"):
        (tmp_path / name / "bundle").mkdir(parents=True)
    (tmp_path / ".store").mkdir()
    (tmp_path / "notes").mkdir()
    return tmp_path


def test_all_runs_are_the_folders_with_a_bundle_by_name(folder: Path) -> None:
    assert [run.name for run in run_folders.all_runs(folder)] == ["dpo-000000", "sft-abc123", "sft-abd456"]
    assert run_folders.all_runs(folder / "nowhere") == ()


@pytest.mark.parametrize("name", ["sft-abc123", "sft-abc", "sft-abc1"])
def test_a_run_is_found_by_its_id_or_a_beginning_of_it(folder: Path, name: str) -> None:
    assert run_folders.find(folder, name) == folder / "sft-abc123"


def test_a_run_is_found_by_its_path(folder: Path) -> None:
    assert run_folders.find(Path("elsewhere"), str(folder / "dpo-000000")) == folder / "dpo-000000"


def test_an_id_that_is_a_beginning_of_another_is_found(folder: Path) -> None:
    (folder / "sft-abc123-2" / "bundle").mkdir(parents=True)
    assert run_folders.find(folder, "sft-abc123") == folder / "sft-abc123"


def test_an_ambiguous_beginning_lists_the_candidates(folder: Path) -> None:
    with pytest.raises(SmtrainError, match="any of 2 runs") as caught:
        run_folders.find(folder, "sft")
    assert "sft-abc123\n  sft-abd456" in str(caught.value)
    assert "dpo" not in str(caught.value)


def test_an_unknown_run_lists_those_there_are(folder: Path) -> None:
    with pytest.raises(SmtrainError, match="There is no run `kto`") as caught:
        run_folders.find(folder, "kto")
    assert "dpo-000000" in str(caught.value)


@pytest.mark.parametrize(
    "receipt",
    [RECEIPT, dataclasses.replace(RECEIPT, state=State.FAILED, exit_code=7, ended=3.25, run_id="é \\ 'x'")],
)
def test_a_receipt_is_read_as_it_was_written(tmp_path: Path, receipt: Receipt) -> None:
    assert receipts.read(tmp_path) is None
    receipts.write(tmp_path, receipt)
    assert receipts.read(tmp_path) == receipt
    assert [path.name for path in tmp_path.iterdir()] == ["receipt.json"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"state": "asleep"}', '{"state": "running", "run_id": "a", "x": 1}'])
def test_a_broken_receipt_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "receipt.json").write_text(text)
    with pytest.raises(SmtrainError, match="is no receipt"):
        receipts.read(tmp_path)


# --------------------------------------------------------------------------------------------------------------- state


@pytest.mark.parametrize(
    ("exit_code", "stopped", "state"),
    [
        ("0\n", False, State.SUCCEEDED),
        ("7\n", False, State.FAILED),
        ("143\n", True, State.STOPPED),
        ("143\n", False, State.FAILED),
        (None, False, State.LOST),
        (None, True, State.LOST),
    ],
)
def test_the_state_of_a_run_that_nobody_watched_follows_from_what_its_script_recorded(
    tmp_path: Path, exit_code: str | None, stopped: bool, state: State
) -> None:
    if exit_code:
        (tmp_path / "exit_code").write_text(exit_code)
    if stopped:
        (tmp_path / "stop").touch()
    (tmp_path / "step").write_text("merge\n")
    now = runs.current(tmp_path, RECEIPT)
    assert (now.state, now.step) == (state, "merge")
    assert receipts.read(tmp_path) == now


def test_a_final_receipt_stays_as_it_is(tmp_path: Path) -> None:
    final = dataclasses.replace(RECEIPT, state=State.FAILED, exit_code=7)
    (tmp_path / "exit_code").write_text("0\n")
    assert runs.current(tmp_path, final) == final


def test_the_end_that_was_written_down_meanwhile_counts(tmp_path: Path) -> None:
    final = dataclasses.replace(RECEIPT, state=State.STOPPED, exit_code=143)
    receipts.write(tmp_path, final)
    assert runs.current(tmp_path, RECEIPT) == final


def test_a_run_is_going_while_anybody_holds_its_lock(tmp_path: Path) -> None:
    assert not runs.is_running(tmp_path)
    with runs.holding(tmp_path) as lock:
        child = subprocess.Popen(("sleep", "60"), pass_fds=(lock,))
        assert runs.is_running(tmp_path)
    try:
        assert runs.is_running(tmp_path)
        with pytest.raises(SmtrainError, match="is going already"), runs.holding(tmp_path):
            pass
    finally:
        child.kill()
        child.wait()
    assert not runs.is_running(tmp_path)


def test_whoever_asks_whether_a_run_is_going_does_not_keep_it_from_starting(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    asking = os.open(tmp_path / "lock", os.O_RDWR)
    fcntl.flock(asking, fcntl.LOCK_SH)
    assert not runs.is_running(tmp_path)
    releasing = subprocess.Popen(("sleep", "0.2"), pass_fds=(asking,))
    os.close(asking)
    with runs.holding(tmp_path):
        pass
    releasing.wait()


# ---------------------------------------------------------------------------------------------------------- the process


def test_a_process_id_that_was_used_again_is_not_signalled() -> None:
    child = subprocess.Popen(("sleep", "60"))
    now = process_tree.process(child.pid)
    assert now is not None
    assert process_tree.is_alive(now)
    process_tree.send(Process(now.pid, now.started - 1), 9)  # type: ignore[arg-type]
    time.sleep(0.1)
    assert child.poll() is None
    process_tree.send(now, 9)  # type: ignore[arg-type]
    assert child.wait(5) == -9
    assert not process_tree.is_alive(now)
    process_tree.send(now, 9)  # type: ignore[arg-type]


def test_the_processes_of_a_run_are_found_whatever_they_did_to_hide(tmp_path: Path) -> None:
    source = """\
import os, subprocess, sys, time
subprocess.Popen(["env", "-i", "sleep", "60"], start_new_session=True, close_fds=True)
time.sleep(60)
"""
    child = subprocess.Popen(
        (sys.executable, "-c", source), env={process_tree.MARK: str(tmp_path.resolve()), **os.environ}
    )
    try:
        deadline = time.monotonic() + 10
        while len(process_tree.members(tmp_path)) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(process_tree.members(tmp_path)) == 2
        assert process_tree.members(tmp_path / "other") == ()
    finally:
        assert process_tree.end(tmp_path, grace_s=0)
        child.wait()
    assert not process_tree.end(tmp_path, grace_s=0)


# --------------------------------------------------------------------------------------------------------- logs, metric


def test_the_last_lines_of_a_log(tmp_path: Path) -> None:
    assert runs.tail(tmp_path) == ()
    (tmp_path / "logs").mkdir()
    (tmp_path / runs.LOG).write_text("".join(f"{number}\n" for number in range(30)) + "no end")
    assert runs.tail(tmp_path, 2) == ("29", "no end")
    assert len(list(runs.log_lines(tmp_path, follow=True))) == 31


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ('{"step": 1, "loss": 2}\n', 2.0),
        ('{"step": 1, "loss": 2}\n{"step": 2, "loss": 1.5}\n{"step": 2, "lr": 0}\n', 1.5),
        ('{"step": 1, "loss": 2}\n{"step": 2, "loss": null}\n', math.nan),
    ],
)
def test_the_final_metric_is_the_last_one(tmp_path: Path, text: str, value: float | None) -> None:
    (tmp_path / "metrics.jsonl").write_text(text)
    assert runs.final_metric(tmp_path, "loss") == (value if value is None else pytest.approx(value, nan_ok=True))


def test_a_run_without_metrics_has_no_final_one(tmp_path: Path) -> None:
    assert runs.final_metric(tmp_path, "loss") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"state": "running"}',
        '{"run_id": "a", "backend": "local", "state": "running", "started": "x"}',
        '{"run_id": "a", "backend": "local", "state": "running", "started": 1e99}',
        '{"run_id": "a", "backend": "local", "state": "dreaming"}',
    ],
)
def test_a_damaged_receipt_is_named(text: str, folder: Path) -> None:
    path = folder / "sft-abc123" / "receipt.json"
    path.write_text(text)
    with pytest.raises(SmtrainError) as caught:
        receipts.read(path.parent)
    assert f"{path} is no receipt" in str(caught.value)


def test_a_run_elsewhere_is_spoken_of_by_its_quoted_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_folders.spoken(tmp_path / "runs" / "sft-1") == "sft-1"
    assert run_folders.spoken(Path("a $(x)/sft-1")) == "'a $(x)/sft-1'"
