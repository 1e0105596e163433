"""A Slurm job is rehearsed by its own script: in this machine's Slurm, or with stand-ins for Slurm's commands."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from slurm_jobs import script

pytest_plugins = ("slurm_runs", "plain_trainer")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plain_trainer")]

SAYS = 'echo "$SMTRAIN_NODE_RANK of $SMTRAIN_NUM_NODES takes $STEPS"; echo weights >out/adapter.txt'


@pytest.fixture
def without_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine whose Slurm does not answer, as if it had none."""
    (tmp_path / "no-slurm").mkdir()
    sinfo = tmp_path / "no-slurm" / "sinfo"
    sinfo.write_text("#!/bin/sh\nexit 1\n")
    sinfo.chmod(0o755)
    monkeypatch.setenv("PATH", f"{sinfo.parent}:{os.environ['PATH']}")


@pytest.fixture
def elsewhere() -> tuple[str, ...]:
    """The overrides of a run on a cluster that has nothing in common with this machine."""
    return (
        *("backend=hyperpod_slurm", "backend.shared_dir=/fsx/team/smtrain", "backend.login=cluster", "compute=cpu"),
        *("compute.nodes=2", "strategy=ddp", "trainer=plain", "backend.partition=gpu", "backend.venv=/fsx/team/env"),
        "backend.prologue=['module load cuda']",
    )


def test_it_is_a_job_of_this_machines_slurm_where_there_is_one(smtrain, words) -> None:
    answer = smtrain("rehearse", *words, script(SAYS))
    assert answer.code == 0, answer.out + answer.err
    assert re.search(r"rehearsed as job \d+ of this machine's Slurm", answer.out)
    assert "0 of 2 takes 3" in answer.out
    assert "1 of 2 takes 3" in answer.out


def test_a_job_that_fails_in_this_machines_slurm_has_failed(smtrain, words) -> None:
    answer = smtrain("rehearse", *words, script("exit 3"))
    assert answer.code == 1
    assert "failed with exit code 3" in answer.out


@pytest.mark.usefixtures("without_slurm")
def test_without_slurm_stand_ins_run_the_same_script(smtrain, elsewhere) -> None:
    answer = smtrain("rehearse", *elsewhere, script(SAYS))
    assert answer.code == 0, answer.out + answer.err
    assert "there is no Slurm here" in answer.out
    assert "0 of 2 takes 3" in answer.out
    assert "1 of 2 takes 3" in answer.out
    (run_dir,) = Path("runs/.rehearsals").iterdir()
    assert (run_dir / "output/adapter/adapter.txt").read_text() == "weights\n"
    assert (run_dir / "bundle/job.sbatch").read_text().startswith("#!/usr/bin/env bash")


@pytest.mark.usefixtures("without_slurm")
def test_the_exit_code_of_a_node_is_not_swallowed_by_a_stand_in(smtrain, elsewhere) -> None:
    text = 'if [ $SMTRAIN_NODE_RANK = 1 ]; then echo "ValueError: nope" >&2; exit 5; fi; sleep 600 & wait'
    answer = smtrain("rehearse", *elsewhere, script(text))
    assert answer.code == 1
    assert "failed with exit code 5" in answer.out
    assert "node-1 (node 1): ValueError: nope" in answer.out


@pytest.mark.usefixtures("without_slurm")
def test_a_rehearsal_that_takes_too_long_is_asked_to_save(smtrain, elsewhere) -> None:
    text = "trap 'echo saving; exit 143' TERM; echo begun; sleep 600 & wait"
    answer = smtrain("rehearse", *elsewhere, script(text), "--timeout", "5")
    assert answer.code == 1
    assert "saving" in answer.out
    assert "its time limit is near" in answer.out


@pytest.mark.usefixtures("without_slurm")
def test_inputs_of_the_cluster_are_stood_in_for(smtrain, elsewhere, tmp_path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    words = (*elsewhere, "trainer.reads=target:/fsx/models/base", script("ls model/ >out/adapter.txt"))
    missing = smtrain("rehearse", *words)
    assert missing.code == 1
    assert "there is nothing at /fsx/models/base" in missing.out
    there = smtrain("rehearse", *words, "--input", f"model={model}")
    assert there.code == 0, there.out + there.err
    unknown = smtrain("rehearse", *words, "--input", f"modle={model}")
    assert unknown.code == 2
    assert "no such input" in unknown.err
