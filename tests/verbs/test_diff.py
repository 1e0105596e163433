from __future__ import annotations

from pathlib import Path

import pytest
from commands import Smtrain

WORDS = ("data=alpaca", "data.path=rows.jsonl", "compute=cpu")


@pytest.fixture
def runs(here: Path, smtrain: Smtrain) -> tuple[str, str]:
    """The ids of two runs that differ in one argument."""
    first, second = (
        smtrain("plan", *WORDS, f"trainer.args.learning_rate={rate}", "--json").document["run_id"]
        for rate in ("1e-4", "2e-4")
    )
    return str(first), str(second)


def test_the_changed_line_is_shown(runs: tuple[str, str], smtrain: Smtrain) -> None:
    answer = smtrain("diff", *runs)
    assert answer.code == 0
    lines = [line.strip() for line in answer.out.splitlines()]
    assert lines[0] == "changed program/train.yaml"
    assert "-learning_rate: 0.0001" in lines
    assert "+learning_rate: 0.0002" in lines
    assert not any("launch.sh" in line for line in lines)


def test_json_names_the_files(runs: tuple[str, str], smtrain: Smtrain) -> None:
    document = smtrain("diff", *runs, "--json").document
    changes = [{"change": "changed", "path": "program/train.yaml"}]
    assert document == {"a": runs[0], "b": runs[1], "changes": changes}


def test_a_bundle_is_the_same_as_itself_however_it_is_named(
    runs: tuple[str, str], here: Path, smtrain: Smtrain
) -> None:
    answer = smtrain("diff", f"runs/{runs[0]}", str(here / "runs" / runs[0] / "bundle"))
    assert answer.out == f"the same bundle: {runs[0]}\n"


def test_files_that_only_one_has_are_named(runs: tuple[str, str], smtrain: Smtrain) -> None:
    other = smtrain(
        "plan", *WORDS, "strategy=zero2", "compute.processes_per_node=2", "launcher=accelerate", "--json"
    ).document["run_id"]
    assert "added program/accelerate.yaml" in smtrain("diff", runs[0], other).out
    assert "removed program/accelerate.yaml" in smtrain("diff", other, runs[0]).out


def test_what_is_no_run_is_an_error(runs: tuple[str, str], here: Path, smtrain: Smtrain) -> None:
    assert smtrain("diff", runs[0], "nothing").code == 2
    assert "holds no bundle" in smtrain("diff", runs[0], str(here)).err
