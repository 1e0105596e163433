"""The scripts of a pod refuse what cannot work, with a code and a word that the pod's status shows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from eks_jobs import KUBEFLOW, files, write
from smtrain_hyperpod.eks.rehearsal import mount

KUBEFLOWS = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "23456"}


def run(tmp_path: Path, script: str, *words: str, env: dict[str, str]) -> tuple[int, str, str]:
    """Runs a script as a pod does; returns its code, what it printed, and what the pod's status would show."""
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    mount.mount(write(tmp_path, "strategy=ddp", *words), mounted)
    (tmp_path / "termination-log").touch()
    own = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SMTRAIN_SCRATCH_DIR": str(tmp_path / "scratch"),
        "SMTRAIN_FAILURE_FILE": str(tmp_path / "termination-log"),
        "NNODES": "1",
        **env,
    }
    done = subprocess.run(("bash", str(mounted / script)), env=own, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr, (tmp_path / "termination-log").read_text()


def test_an_image_without_the_operators_agent_is_refused_where_nothing_is_installed(tmp_path: Path) -> None:
    code, printed, status = run(tmp_path, "pod.sh", "backend.install.mode=never", env={})
    assert code == 69
    assert "the image has no hyperpod-elastic-agent==1.1.3" in printed
    assert "backend.install.mode=never" in status


def test_an_agent_that_does_not_start_is_refused_with_what_to_do(tmp_path: Path) -> None:
    package = tmp_path / "site" / "hyperpod_elastic_agent"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    # As 1.1.3 ends with torch 2.12 and newer.
    (package / "run.py").write_text('raise SystemExit("argument --shutdown-timeout: conflicting option string")\n')
    code, printed, status = run(tmp_path, "pod.sh", env={"PYTHONPATH": str(tmp_path / "site")})
    assert code == 69
    assert "conflicting option string" in printed
    assert "torch older than 2.12" in status
    assert "backend.operator=kubeflow" in status


@pytest.mark.parametrize(("operator", "variable"), [("hyperpod", "GROUP_RANK"), ("kubeflow", "RANK")])
def test_a_pod_that_nobody_gave_a_rank_ends_at_once(operator: str, variable: str, tmp_path: Path) -> None:
    code, printed, _ = run(tmp_path, "launch.sh", f"backend.operator={operator}", env={})
    assert code != 0
    assert f"{variable}: is set by" in printed


def test_a_pod_with_fewer_gpus_than_processes_is_refused(tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "nvidia-smi").write_text("#!/usr/bin/env bash\necho 'GPU 0: A100'\n")
    (programs / "nvidia-smi").chmod(0o755)
    path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    code, _, status = run(tmp_path, "launch.sh", KUBEFLOW, env={**KUBEFLOWS, "PATH": path})
    assert code == 69
    assert status == "the run needs 8 GPUs, and this pod has 1\n"


def test_an_interpreter_that_the_image_lacks_is_named(tmp_path: Path) -> None:
    code, _, status = run(tmp_path, "launch.sh", KUBEFLOW, "backend.python=/no/such/python", env=KUBEFLOWS)
    assert code == 69
    assert "/no/such/python" in status


@pytest.mark.parametrize("value", ["two words", "it's", "$(touch pwned)", "a;b"])
def test_hostile_paths_are_quoted_in_every_script(value: str) -> None:
    found = files("strategy=ddp", f'backend.python="{value}"', f'backend.scratch.path="/data/{value}"')
    for script in ("pod.sh", "launch.sh", "steps.sh"):
        checked = subprocess.run(("bash", "-n"), input=found[script], capture_output=True, check=False)
        assert checked.returncode == 0, checked.stderr
    assert not Path("pwned").exists()
