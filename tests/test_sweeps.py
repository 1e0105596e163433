"""A sweep that is only planned launches nothing, and says once what is wrong at all of its points."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smtrain.cli import main

SWEEP = ("-m", "model.path=ORG/NAME", "seed=1,2")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_planning_a_sweep_writes_every_bundle_and_launches_none(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *SWEEP, "--json"]) == 0
    points = json.loads(capsys.readouterr().out)
    assert len(points) == 2
    for point in points:
        assert (here / point["bundle"] / "manifest.json").is_file()
        assert not (here / point["run_dir"] / "receipt.json").exists()


def test_a_mistake_of_all_points_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *SWEEP, "data.path=no.jsonl"]) == 2
    message = capsys.readouterr().err
    assert message.count("There is no file `no.jsonl`") == 1
    assert "At seed" not in message


def test_a_mistake_of_one_point_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "-m", "model.path=ORG/NAME", "seed=1,x"]) == 2
    assert "(At seed=x.)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [("explain", "seed", *SWEEP), ("run", *SWEEP, "hydra.sweeper.params={seed: '1,2'}"), (*SWEEP, "hydra.no=1")],
)
def test_what_cannot_be_swept_is_refused(words: tuple[str, ...], here: Path) -> None:
    assert main(list(words)) == 2
    assert list(here.iterdir()) == []


def test_showing_the_configuration_wins_over_running_a_sweep(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-m", "--cfg", "job", "model.path=ORG/NAME"]) == 0
    assert "ORG/NAME" in capsys.readouterr().out
    assert list(here.iterdir()) == []
