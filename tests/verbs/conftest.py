from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import Answer, Smtrain

from smtrain.cli import main

ROW = {"instruction": "Name a sea.", "input": "", "output": "The Baltic."}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with rows.jsonl in it; runs lease their ports and devices elsewhere than the user's."""
    (tmp_path / "rows.jsonl").write_text(f"{json.dumps(ROW)}\n" * 8, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SMTRAIN_LEASE_DIR", str(tmp_path / "leases"))
    return tmp_path


@pytest.fixture
def smtrain(here: Path, capsys: pytest.CaptureFixture[str]) -> Smtrain:
    """Calls the command in this process, in `here`."""

    def call(*words: str) -> Answer:
        code = main(words)
        captured = capsys.readouterr()
        return Answer(code=code, out=captured.out, err=captured.err)

    return call
