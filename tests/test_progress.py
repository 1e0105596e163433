from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from smtrain.progress import Follower, Record, read
from smtrain.spec import Progress

# The fields of LLaMA-Factory 0.9.5's trainer_log.jsonl (train/callbacks.py, LogCallback.on_log).
FIELDS = Progress(
    path="trainer_log.jsonl",
    step="current_steps",
    total="total_steps",
    metrics={"loss": "loss", "eval_loss": "eval_loss", "learning_rate": "lr"},
)


def row(step: int, total: int = 100, **metrics: float) -> str:
    return json.dumps({"current_steps": step, "total_steps": total, "elapsed_time": "0:00:01", **metrics}) + "\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trainer_log.jsonl"


def test_records_come_as_they_are_written(path: Path) -> None:
    follower = Follower(path, FIELDS)
    assert follower.poll() == ()
    path.write_text(row(5, loss=2.0, lr=0.1))
    assert follower.poll() == (Record(step=5, total=100, metrics={"loss": 2.0, "learning_rate": 0.1}),)
    assert follower.poll() == ()
    with path.open("a") as file:
        file.write(row(10, loss=1.0) + row(10, eval_loss=1.5))
    assert [record.metrics for record in follower.poll()] == [{"loss": 1.0}, {"eval_loss": 1.5}]


def test_half_a_line_waits_for_its_other_half(path: Path) -> None:
    follower = Follower(path, FIELDS)
    text = row(5, loss=2.0)
    path.write_text(text[:20])
    assert follower.poll() == ()
    with path.open("a") as file:
        file.write(text[20:])
    assert [record.step for record in follower.poll()] == [5]


@pytest.mark.parametrize(
    "line", ["", "{", "[]", "null", '{"loss": 1}', '{"current_steps": "5"}', '{"current_steps": NaN}']
)
def test_what_is_no_record_is_passed_over(path: Path, line: str) -> None:
    path.write_text(line + "\n" + row(5, loss=2.0))
    assert [record.step for record in Follower(path, FIELDS).poll()] == [5]


def test_a_replaced_file_is_read_anew(path: Path) -> None:
    follower = Follower(path, FIELDS)
    path.write_text(row(5, loss=2.0) + row(10, loss=1.0))
    follower.poll()
    path.rename(path.with_name("aside"))
    path.write_text(row(1, loss=9.0))
    assert [record.step for record in follower.poll()] == [1]
    assert follower.metrics.rows == [{"step": 1, "loss": 9.0}]


def test_a_truncated_file_is_read_anew(path: Path) -> None:
    follower = Follower(path, FIELDS)
    path.write_text(row(5, loss=2.0) + row(10, loss=1.0))
    follower.poll()
    path.write_text(row(5, loss=3.0))
    assert [record.metrics["loss"] for record in follower.poll()] == [3.0]


def rows(path: Path, *lines: str) -> list[object]:
    path.write_text("".join(lines))
    follower = Follower(path, FIELDS)
    follower.poll()
    return list(follower.metrics.rows)


def test_one_row_a_step(path: Path) -> None:
    found = rows(path, row(5, loss=2.0), row(5, eval_loss=2.5), row(10, loss=1.0), row(10))
    assert found == [{"step": 5, "loss": 2.0, "eval_loss": 2.5}, {"step": 10, "loss": 1.0}]


def test_steps_done_again_after_a_resume_replace_the_first_ones(path: Path) -> None:
    found = rows(path, row(5, loss=5.0), row(10, loss=4.0), row(15, loss=3.0), row(10, loss=4.5), row(15, loss=3.5))
    assert found == [{"step": 5, "loss": 5.0}, {"step": 10, "loss": 4.5}, {"step": 15, "loss": 3.5}]


def test_an_evaluation_at_the_end_takes_no_training_step_back(path: Path) -> None:
    found = rows(path, row(5, loss=5.0), row(10, loss=4.0), row(5, total=7), row(0, total=7, eval_loss=1.0))
    assert found == [{"step": 5, "loss": 5.0}, {"step": 10, "loss": 4.0}, {"step": 0, "eval_loss": 1.0}]


def test_metrics_that_are_no_numbers_are_null(path: Path, tmp_path: Path) -> None:
    path.write_text(row(5, loss=math.nan) + row(10, loss=math.inf))
    follower = Follower(path, FIELDS)
    assert math.isnan(follower.poll()[0].metrics["loss"])
    follower.metrics.write(tmp_path / "metrics.jsonl")
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 5, "loss": null}\n{"step": 10, "loss": null}\n'
    assert list(read(tmp_path / "metrics.jsonl")) == follower.metrics.rows
