"""One run that cannot be told of hides no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smtrain import receipts
from smtrain.cli import main
from smtrain.spec import Receipt, State


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, backend in (("good-1", "local"), ("elsewhere-1", "not-installed"), ("damaged-1", "local")):
        (tmp_path / name / "bundle").mkdir(parents=True)
        receipt = Receipt(run_id=name, backend=backend, state=State.SUCCEEDED, exit_code=0, started=1.0, ended=2.0)
        receipts.write(tmp_path / name, receipt)
    return tmp_path


@pytest.mark.parametrize("damage", ["{", '{"state": "succeeded"}', ""])
def test_ps_lists_the_others(damage: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "damaged-1" / "receipt.json").write_text(damage)
    assert main(["ps", "--runs-dir", str(folder), "--json"]) == 0
    captured = capsys.readouterr()
    assert {run["run_id"] for run in json.loads(captured.out)} == {"good-1", "elsewhere-1"}
    assert "warning: " in captured.err
    assert "damaged-1/receipt.json is no receipt" in captured.err


def test_status_of_a_damaged_run_says_what_to_do(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    receipt = folder / "damaged-1" / "receipt.json"
    receipt.unlink()
    receipt.mkdir()
    assert main(["status", "damaged-1", "--runs-dir", str(folder)]) == 2
    assert "Remove it" in capsys.readouterr().err
