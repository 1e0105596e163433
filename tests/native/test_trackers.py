"""Trackers: real ones, offline; and such as are missing, refuse, fail, or hang."""

from __future__ import annotations

import io
import json
import math
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from smtrain_native.runtime.reporter import Reporter
from smtrain_native.runtime.settings import Reporter as TrackerName
from smtrain_native.runtime.settings import Reports
from smtrain_native.runtime.trackers import Start, Tracker
from smtrain_native.runtime.tracking import Feed, TrackerError, Tracking

CONFIG = {"model": {"path": "a b/ü"}, "seed": 42, "files": ["x" * 900], "none": None}
VALUES = {"loss": 0.5, "eval/te st: é(1)/loss": 2.0, "eval/../loss": 3.0}


class Kept:
    """A tracker that keeps what it is told; a service that a test may let fail or hang."""

    def __init__(self, start: Start, *, fail: bool = False, hang: threading.Event | None = None) -> None:
        self.start, self.fail, self.hang = start, fail, hang
        self.rows: list[tuple[int, Mapping[str, float]]] = []
        self.closed: list[bool] = []
        self.run_id = start.run_id or f"run-{start.start_step}"

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if self.hang:
            self.hang.wait()
        if self.fail:
            message = f"503 at step {step}"
            raise ConnectionError(message)
        self.rows.append((step, values))

    def close(self, *, failed: bool) -> None:
        self.closed.append(failed)


class Opened:
    """Opens trackers that are kept here."""

    def __init__(self, **settings: object) -> None:
        self.settings = settings
        self.all: list[Kept] = []

    def __call__(self, start: Start) -> Tracker:
        self.all.append(Kept(start, **self.settings))
        return self.all[-1]


def refuse(error: Exception) -> Callable[[Start], Tracker]:
    def opener(start: Start) -> Tracker:
        raise error

    return opener


def reporter(
    path: Path,
    openers: Mapping[TrackerName, Callable[[Start], Tracker]],
    *,
    out: io.StringIO | None = None,
    start: int = 0,
) -> Reporter:
    reports = Reports(to=tuple(openers), project="a project", name="a run")
    return Reporter(path, reports, 9, start_step=start, config=CONFIG, out=out or io.StringIO(), openers=openers)


def test_a_tracker_gets_every_row_in_order_and_learns_how_it_ended(tmp_path: Path) -> None:
    opened = Opened()
    told = reporter(tmp_path, {"wandb": opened})
    for step in range(1, 4):
        told.step(step, {"loss": float(step)})
    told.evaluation(3, {"eval/dev/loss": math.inf})
    told.close(failed=True)
    (kept,) = opened.all
    rows = [*((step, {"loss": float(step)}) for step in (1, 2, 3)), (3, {"eval/dev/loss": math.inf})]
    assert (kept.rows, kept.closed) == (rows, [True])
    assert (kept.start.project, kept.start.name, kept.start.config) == ("a project", "a run", CONFIG)


def test_a_run_that_goes_on_is_the_same_run_there(tmp_path: Path) -> None:
    opened = Opened()
    reporter(tmp_path, {"mlflow": opened}).close()
    reporter(tmp_path, {"mlflow": opened}, start=4).close()
    reporter(tmp_path, {"mlflow": opened}).close()
    assert [(kept.start.start_step, kept.start.run_id) for kept in opened.all] == [(0, None), (4, "run-0"), (0, None)]


@pytest.mark.parametrize("text", ["", "[]", '{"mlflow": 3}', "\0"])
def test_a_damaged_note_of_the_runs_begins_another(tmp_path: Path, text: str) -> None:
    (tmp_path / "trackers.json").write_text(text)
    opened = Opened()
    reporter(tmp_path, {"mlflow": opened}, start=4).close()
    assert opened.all[0].start.run_id is None


def test_trackers_that_cannot_be_opened_are_named_together_and_the_others_closed(tmp_path: Path) -> None:
    opened = Opened()
    openers = {
        "tensorboard": opened,
        "wandb": refuse(ModuleNotFoundError("No module named 'wandb.sdk'", name="wandb.sdk")),
        "mlflow": refuse(PermissionError("401: who are you?")),
    }
    with pytest.raises(TrackerError) as raised:
        reporter(tmp_path, openers)
    assert str(raised.value).splitlines() == [
        "reports.to: the tracker `mlflow` cannot be opened: PermissionError: 401: who are you?",
        "reports.to: the tracker `wandb` is not installed. Install it, `pip install wandb`, or leave it out.",
    ]
    assert opened.all[0].closed == [True]


def test_a_tracker_whose_own_dependency_is_missing_is_not_said_to_be_missing(tmp_path: Path) -> None:
    error = ModuleNotFoundError("No module named 'google.protobuf'", name="google.protobuf")
    with pytest.raises(TrackerError, match=r"`wandb` cannot be opened: ModuleNotFoundError: No module .*protobuf"):
        reporter(tmp_path, {"wandb": refuse(error)})


def test_a_tracker_that_fails_is_told_once_and_the_training_goes_on(tmp_path: Path) -> None:
    out, opened, sound = io.StringIO(), Opened(fail=True), Opened()
    told = reporter(tmp_path, {"wandb": opened, "mlflow": sound}, out=out)
    for step in range(1, 6):
        told.step(step, {"loss": 1.0})
    told.close()
    warnings = [line for line in out.getvalue().splitlines() if not line.startswith("step ")]
    assert warnings == [
        "tracker `wandb`: ConnectionError: 503 at step 1. The training goes on.",
        "tracker `wandb`: 5 of 5 rows are missing; metrics.jsonl has all.",
    ]
    assert len(sound.all[0].rows) == len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 5


def test_a_tracker_that_is_back_gets_the_later_rows(tmp_path: Path) -> None:
    kept, warnings = Kept(_start(tmp_path), fail=True), []
    feed = Feed("mlflow", kept, warnings.append)
    feed.log(1, {"loss": 1.0})
    _until(lambda: warnings)
    kept.fail = False
    feed.log(2, {"loss": 2.0})
    feed.close(failed=False, timeout_s=5)
    assert kept.rows == [(2, {"loss": 2.0})]
    assert warnings[1:] == ["tracker `mlflow`: 1 of 2 rows are missing; metrics.jsonl has all."]


def test_a_tracker_that_hangs_holds_nothing_up(tmp_path: Path) -> None:
    hang, warnings = threading.Event(), []
    feed = Feed("mlflow", Kept(_start(tmp_path), hang=hang), warnings.append, waiting=3)
    begun = time.monotonic()
    for step in range(20):
        feed.log(step, {"loss": 1.0})
    feed.close(failed=False, timeout_s=0.2)
    assert time.monotonic() - begun < 5
    hang.set()
    assert warnings[0] == "tracker `mlflow`: it does not keep up, 3 rows are waiting. The training goes on."
    assert "it did not end within 0 s and is left alone" in warnings[1]


def test_values_that_change_afterwards_are_told_as_they_were(tmp_path: Path) -> None:
    hang = threading.Event()
    kept = Kept(_start(tmp_path), hang=hang)
    feed = Feed("mlflow", kept, print)
    values = {"loss": 1.0}
    feed.log(1, values)
    values["loss"] = 2.0
    hang.set()
    feed.close(failed=False, timeout_s=5)
    assert kept.rows == [(1, {"loss": 1.0})]


def test_nothing_is_written_where_no_tracker_is_asked_for(tmp_path: Path) -> None:
    Tracking(Reports(), _start(tmp_path), warn=print).close(failed=False)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------- the real ones


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_tracker_that_is_missing_is_an_error_that_names_its_package(
    name: TrackerName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    with pytest.raises(TrackerError, match=f"`{name}` is not installed. Install it, `pip install {name}`"):
        Reporter(tmp_path, Reports(to=(name,)), 9, start_step=0, config=CONFIG, out=io.StringIO())


def told_by_a_real_one(path: Path, name: TrackerName) -> None:
    """Six steps, interrupted after the fourth, gone on from the third."""
    for start, steps in ((0, (1, 2, 3, 4)), (3, (4, 5, 6))):
        out = io.StringIO()
        reports = Reports(to=(name,), project="a project é", name="a run")
        told = Reporter(path, reports, 9, start_step=start, config=CONFIG, out=out)
        for step in steps:
            told.step(step, {**VALUES, "loss": step / 2})
        told.evaluation(steps[-1], {"eval/dev/loss": math.nan})
        told.close(failed=start == 0)
        assert "tracker" not in out.getvalue()


def test_tensorboard_shows_each_step_once(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    told_by_a_real_one(tmp_path, "tensorboard")
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(n, n / 2) for n in range(1, 7)]
    assert set(VALUES) | {"eval/dev/loss"} == set(events.Tags()["scalars"])
    (text,) = events.Tensors("settings/text_summary")
    assert json.loads(text.tensor_proto.string_val[0].decode().strip("`").removeprefix("json")) == CONFIG


def test_mlflow_has_one_run_with_parameters_and_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/else where.db")
    told_by_a_real_one(tmp_path / "run", "mlflow")
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("a project é")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("a run", "FINISHED")
    expected = {"model.path": "a b/ü", "seed": "42", "files": json.dumps(CONFIG["files"])[:500], "none": "null"}
    assert run.data.params == expected
    history = client.get_metric_history(run.info.run_id, "loss")
    assert {(point.step, point.value) for point in history} == {(n, n / 2) for n in range(1, 7)}
    assert run.data.metrics.keys() == {"loss", "eval/te st: é_1_/loss", "eval/_/loss", "eval/dev/loss"}


def test_mlflow_without_a_server_keeps_a_database_in_the_output_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    told_by_a_real_one(tmp_path / "the run", "mlflow")
    assert [path.name for path in tmp_path.iterdir()] == ["the run"]
    assert (tmp_path / "the run" / "mlflow" / "mlflow.db").stat().st_size > 0


def test_wandb_keeps_an_offline_run_for_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    told_by_a_real_one(tmp_path, "wandb")
    folders = [path for path in (tmp_path / "wandb").iterdir() if re.match(r"offline-run-", path.name)]
    assert {path.name.rpartition("-")[2] for path in folders} == {
        json.loads((tmp_path / "trackers.json").read_text())["wandb"]
    }
    content = b"".join(file.read_bytes() for path in folders for file in path.glob("*.wandb"))
    assert b"eval/dev/loss" in content


def _start(folder: Path) -> Start:
    return Start(folder=folder, project="p", name="n", start_step=0, config={})


def _until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 5
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    assert condition()
