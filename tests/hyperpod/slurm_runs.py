"""The command, and the overrides of a run in the Slurm of the tests, as fixtures."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import Answer, Smtrain
from s3_server import s3_server

from smtrain.cli import main

__all__ = ["s3_server", "shared", "smtrain", "words"]


@pytest.fixture
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the nodes share with the login node."""
    return tmp_path_factory.mktemp("fsx") / "smtrain"


@pytest.fixture
def words(slurm_machine, shared: Path, tmp_path_factory, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """The overrides of a run of the plain trainer on two nodes."""
    monkeypatch.setenv("SLURM_CONF", str(slurm_machine.conf))
    return (
        "backend=hyperpod_slurm",
        f"backend.shared_dir={shared}",
        f"++backend.scratch_dir={tmp_path_factory.mktemp('nvme')}",
        "compute=cpu",
        "compute.nodes=2",
        "strategy=ddp",
        "trainer=plain",
    )


@pytest.fixture
def smtrain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Smtrain:
    """The command, in this process, in an empty folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def call(*words: str) -> Answer:
        capsys.readouterr()
        code = main(words)
        captured = capsys.readouterr()
        return Answer(code=code, out=captured.out, err=captured.err)

    return call
