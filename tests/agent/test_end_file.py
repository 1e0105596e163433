"""A file ends the run as a signal to the agent would, where signals reach more than the agent."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from agent_runs import Target, plan, until, write_agent

SAVES = "trap 'echo saved >saved; exit 143' TERM; echo begun; sleep 600 & wait"


@pytest.fixture
def alone(tmp_path: Path) -> Target:
    return Target(root=tmp_path, uri="", env={})


def end(path: Path, text: str) -> None:
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").rename(path)


def test_the_workload_is_asked_to_end_and_the_reason_is_the_files(alone: Target) -> None:
    file = alone.root / "end"
    alone.start(plan(), SAVES, SMTRAIN_END_FILE=str(file))
    until(lambda: "begun" in alone.log())
    end(file, "143 stopped because its time limit is near\n")
    ended = alone.wait()
    assert ended.code == 143
    assert (alone.node() / "saved").exists()
    assert "stopped because its time limit is near" in ended.failure
    alone.stop()


def test_without_a_workload_yet_the_code_is_the_files(tmp_path: Path) -> None:
    two = Target(root=tmp_path, uri="", env={}, nodes=2)
    file = tmp_path / "end"
    end(file, "69 stopped because node 1 could not begin\n")
    nobody = str(_free_port() - 1)
    two.start(plan(control={"connect_s": 2}), "echo begun", SMTRAIN_END_FILE=str(file), SMTRAIN_MASTER_PORT=nobody)
    ended = two.wait()
    assert ended.code == 69
    assert "begun" not in ended.log


@pytest.mark.parametrize("text", ["", "no number at all"])
def test_a_file_that_says_nothing_ends_it_all_the_same(alone: Target, text: str) -> None:
    file = alone.root / "end"
    file.write_text(text)
    alone.start(plan(), SAVES, SMTRAIN_END_FILE=str(file))
    assert alone.wait().code == 143


def test_installing_alone_runs_no_command(alone: Target) -> None:
    folder = alone.node()
    folder.mkdir()
    for packages, code in (([], 0), ([{"name": "no-such-package", "specifier": "==1"}], 69)):
        (folder / "agent.json").write_text(json.dumps(plan(install={"packages": packages})))
        done = subprocess.run(
            (sys.executable, write_agent(folder), folder / "agent.json", "--install"),
            env={**os.environ, **alone.variables(0)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
    assert "no-such-package==1 is not installed" in done.stderr


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
