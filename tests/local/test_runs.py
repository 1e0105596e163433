"""Runs of the local backend from launch to end, as the commands drive them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from launching import CHECKPOINTS, dumping, environment, job, program, python_step, seen, write
from smtrain_local.backend import LocalBackend, LocalOptions

from smtrain import process_tree, runs, workload
from smtrain.spec import Exec, LogLine, Program, Receipt, Resume, State, Step

GOES = """\
import pathlib, signal, sys, time
def save(*_):
    print("saving", flush=True)
    pathlib.Path("out/checkpoint-7").mkdir()
    pathlib.Path("out/checkpoint-7/trainer_state.json").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
time.sleep(60)
"""


class Nobody:
    def line(self, text: str) -> None:
        pass

    def progress(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        pass


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "probe-1"
    folder.mkdir()
    yield folder
    process_tree.end(folder, grace_s=0)


def launch(run_dir: Path, what: Program, *, grace_s: int = 60, detach: bool = False, resume: str = "auto") -> Receipt:
    bundle = LocalBackend().lower(job(), what, LocalOptions(grace_s=grace_s))
    write(bundle, run_dir)
    (action,) = bundle.actions
    assert isinstance(action, Exec)
    return workload.launch(
        run_dir,
        action,
        receipt=Receipt(run_id=run_dir.name, backend="local", state=State.RUNNING, started=time.time()),
        env=environment(run_dir.parent, SMTRAIN_RESUME=resume),
        observer=Nobody(),
        progress=bundle.progress,
        detach=detach,
    )


def wait_for(run_dir: Path, line: str) -> None:
    deadline = time.monotonic() + 20
    while line not in runs.tail(run_dir, 1000):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_run_succeeds(run_dir: Path) -> None:
    final = launch(run_dir, program(python_step("print('hello')"), dumping(name="after")))
    assert (final.state, final.exit_code, final.step) == (State.SUCCEEDED, 0, "after")
    assert [line.text for line in LocalBackend().logs(run_dir, final, follow=False)] == [
        "smtrain: step train",
        "hello",
        "smtrain: step after",
    ]


def test_a_failed_run_names_its_step_and_keeps_its_exit_code(run_dir: Path) -> None:
    steps = (python_step("print(1)", name="train"), python_step("raise SystemExit(9)", name="merge"))
    final = launch(run_dir, program(*steps, python_step("print(2)", name="predict")))
    assert (final.state, final.exit_code, final.step) == (State.FAILED, 9, "merge")


def test_status_logs_and_stop_of_a_run_in_the_background(run_dir: Path) -> None:
    receipt = launch(run_dir, program(python_step(GOES), outputs=(CHECKPOINTS,)), detach=True)
    backend = LocalBackend()
    wait_for(run_dir, "ready")
    assert backend.status(run_dir, receipt).state is State.RUNNING
    followed: list[LogLine] = []
    follower = threading.Thread(target=lambda: followed.extend(backend.logs(run_dir, receipt, follow=True)))
    follower.start()
    final = backend.stop(run_dir, receipt)
    follower.join(20)
    assert (final.state, final.exit_code, final.step) == (State.STOPPED, 143, "train")
    assert [line.text for line in followed] == ["smtrain: step train", "ready", "saving"]
    assert backend.status(run_dir, receipt) == final
    assert backend.stop(run_dir, final) == final


def test_a_stopped_run_goes_on_from_what_it_saved(run_dir: Path) -> None:
    receipt = launch(run_dir, program(python_step(GOES), outputs=(CHECKPOINTS,)), detach=True)
    wait_for(run_dir, "ready")
    LocalBackend().stop(run_dir, receipt)
    again = program(dumping(Resume("--from=")), outputs=(CHECKPOINTS,))
    assert launch(run_dir, again).state is State.SUCCEEDED
    assert seen(run_dir)["argv"] == [f"--from={run_dir}/output/adapter/checkpoint-7"]
    assert launch(run_dir, again, resume="never").state is State.SUCCEEDED
    assert seen(run_dir)["argv"] == []


def test_a_run_that_fails_after_an_earlier_try_was_stopped_has_failed(run_dir: Path) -> None:
    receipt = launch(run_dir, program(python_step(GOES), outputs=(CHECKPOINTS,)), detach=True)
    wait_for(run_dir, "ready")
    assert LocalBackend().stop(run_dir, receipt).state is State.STOPPED
    assert launch(run_dir, program(python_step("raise SystemExit(3)"))).state is State.FAILED


def test_a_run_that_does_not_end_is_killed_after_the_grace(run_dir: Path) -> None:
    deaf = Step(name="train", argv=("bash", "-c", "trap '' TERM; echo ready; while true; do sleep 0.1; done"))
    receipt = launch(run_dir, program(deaf), grace_s=1, detach=True)
    wait_for(run_dir, "ready")
    begin = time.monotonic()
    assert LocalBackend().stop(run_dir, receipt).state is State.STOPPED
    assert 1 <= time.monotonic() - begin < 10


def test_asking_a_second_time_to_stop_kills(run_dir: Path) -> None:
    deaf = Step(name="train", argv=("bash", "-c", "trap 'echo asked' TERM; echo ready; while true; do sleep 0.1; done"))
    receipt = launch(run_dir, program(deaf), detach=True)
    wait_for(run_dir, "ready")
    first = threading.Thread(target=lambda: LocalBackend().stop(run_dir, receipt))
    first.start()
    wait_for(run_dir, "asked")
    final = LocalBackend().stop(run_dir, receipt)
    first.join(20)
    assert (final.state, final.exit_code) == (State.STOPPED, 137)
