"""GPUs and ports, on a machine whose `nvidia-smi` is the test's own."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from launching import dumping, environment, job, program, python_step, seen, write
from smtrain_local.backend import LocalBackend, LocalOptions

from smtrain.spec import RuntimeVar, Step

WAITS = """\
import os, pathlib, sys, time
pathlib.Path("port").write_text(sys.argv[1])
pathlib.Path("gpus.new").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "unset"))
pathlib.Path("gpus.new").rename("gpus")
while not pathlib.Path(os.environ["SMTRAIN_BASE"], "go").exists():
    time.sleep(0.02)
"""
WAITING = python_step(WAITS, RuntimeVar.MASTER_PORT)


@pytest.fixture
def nvidia_smi(tmp_path: Path) -> Path:
    """A folder to put on PATH: a machine with four GPUs."""
    return fake_nvidia_smi(tmp_path, "".join(f"{index}, GPU-{index}abc\\n" for index in range(4)))


def fake_nvidia_smi(tmp_path: Path, listing: str, code: int = 0) -> Path:
    folder = tmp_path / "machine"
    folder.mkdir()
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\nprintf '{listing}'\nexit {code}\n")
    (folder / "nvidia-smi").chmod(0o755)
    return folder


class Runs:
    """Runs of a test, ended with it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.children: list[subprocess.Popen[str]] = []

    def start(
        self,
        name: str,
        machine: Path | None,
        *,
        processes: int = 1,
        accelerator: str = "auto",
        step: Step = WAITING,
        options: LocalOptions | None = None,
        **more: str,
    ) -> subprocess.Popen[str]:
        the_job = job(processes=processes, accelerator=accelerator)
        run_dir = write(LocalBackend().lower(the_job, program(step), options or LocalOptions()), self.base / name)
        path = os.environ["PATH"] if machine is None else f"{machine}:{os.environ['PATH']}"
        child = subprocess.Popen(
            ("bash", "launch.sh"),
            cwd=run_dir / "bundle",
            env=environment(self.base, PATH=path, **more),
            stderr=subprocess.PIPE,
            text=True,
        )
        self.children.append(child)
        return child

    def gpus(self, name: str) -> str:
        """Returns what the run of this name was given, once it runs."""
        file = self.base / name / "work" / "gpus"
        deadline = time.monotonic() + 20
        while not file.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return file.read_text()

    def end(self) -> list[int]:
        (self.base / "go").touch()
        return [child.wait(20) for child in self.children]


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    found = Runs(tmp_path)
    yield found
    found.end()


def test_concurrent_runs_get_disjoint_gpus_and_ports(runs: Runs, nvidia_smi: Path) -> None:
    for name in ("a", "b"):
        runs.start(name, nvidia_smi, processes=2, accelerator="gpu")
    given = [runs.gpus(name).split(",") for name in ("a", "b")]
    assert sorted(gpu for gpus in given for gpu in gpus) == ["0", "1", "2", "3"]
    assert len({(runs.base / name / "work" / "port").read_text() for name in ("a", "b")}) == 2
    assert runs.end() == [0, 0]


def test_a_run_that_finds_too_few_free_gpus_says_so(runs: Runs, nvidia_smi: Path) -> None:
    runs.start("a", nvidia_smi, processes=3)
    runs.gpus("a")
    late = runs.start("b", nvidia_smi, processes=2)
    _, said = late.communicate(timeout=20)
    assert late.returncode == 75
    assert "the run needs 2 GPUs, and 1 of 4 are free" in said


def test_one_run_at_a_time_chooses_its_gpus(runs: Runs, nvidia_smi: Path) -> None:
    (runs.base / "leases").mkdir()
    with (runs.base / "leases" / "choosing").open("w") as choosing:
        fcntl.flock(choosing, fcntl.LOCK_EX)
        runs.start("a", nvidia_smi)
        time.sleep(0.5)
        assert not (runs.base / "a" / "work").exists()
    assert runs.gpus("a") == "0"


def test_a_port_that_another_run_was_given_is_not_given_again(runs: Runs, tmp_path: Path) -> None:
    python = tmp_path / "python"
    # An interpreter that finds port 40000 free first, then 40001: nobody listens there yet.
    python.write_text(
        f"""#!/bin/sh
if [ "$1" = -S ]; then if mkdir "$ASKED" 2>/dev/null; then echo 40000; else echo 40001; fi
else exec {sys.executable} "$@"; fi
"""
    )
    python.chmod(0o755)
    for name in ("a", "b"):
        runs.start(name, None, accelerator="cpu", SMTRAIN_PYTHON=str(python), ASKED=str(tmp_path / f"asked-{name}"))
        runs.gpus(name)
    assert [(runs.base / name / "work" / "port").read_text() for name in ("a", "b")] == ["40000", "40001"]


def test_gpus_are_free_again_when_a_run_has_ended(runs: Runs, nvidia_smi: Path) -> None:
    first = runs.start("a", nvidia_smi, processes=4, step=dumping())
    assert first.wait(20) == 0
    runs.start("b", nvidia_smi, processes=4)
    assert runs.gpus("b") == "0,1,2,3"


def test_a_killed_scripts_gpus_stay_taken_while_its_step_lives(runs: Runs, nvidia_smi: Path) -> None:
    first = runs.start("a", nvidia_smi, processes=4)
    runs.gpus("a")
    first.kill()
    first.wait(20)
    late = runs.start("b", nvidia_smi)
    assert late.wait(20) == 75


def test_cuda_visible_devices_says_which_gpus_are_ours(runs: Runs, nvidia_smi: Path) -> None:
    runs.start("a", nvidia_smi, processes=2, CUDA_VISIBLE_DEVICES="3,1,0")
    assert runs.gpus("a") == "3,1"


def test_one_gpu_by_index_and_by_uuid_is_the_same(runs: Runs, nvidia_smi: Path) -> None:
    runs.start("a", nvidia_smi, CUDA_VISIBLE_DEVICES="2")
    assert runs.gpus("a") == "2"
    assert runs.start("b", nvidia_smi, CUDA_VISIBLE_DEVICES="GPU-2abc").wait(20) == 75


def test_the_options_say_which_gpus_may_be_used(runs: Runs, nvidia_smi: Path) -> None:
    runs.start("a", nvidia_smi, options=LocalOptions(gpus=(2, 3)), CUDA_VISIBLE_DEVICES="GPU-1abc,GPU-3abc,0")
    assert runs.gpus("a") == "GPU-3abc"


def test_more_processes_than_gpus_can_never_run(runs: Runs, nvidia_smi: Path) -> None:
    child = runs.start("a", nvidia_smi, processes=5)
    _, said = child.communicate(timeout=20)
    assert child.returncode == 69
    assert "needs 5 GPUs, one a process, and may use 4 here: lower compute.processes_per_node" in said


def test_cpu_hides_the_gpus(runs: Runs, nvidia_smi: Path) -> None:
    runs.start("a", nvidia_smi, accelerator="cpu", CUDA_VISIBLE_DEVICES="1")
    assert runs.gpus("a") == ""


def test_auto_runs_without_gpus(runs: Runs, tmp_path: Path) -> None:
    machine = fake_nvidia_smi(tmp_path, "No devices were found", code=6)
    runs.start("a", machine, processes=2)
    assert runs.gpus("a") == "unset"


def test_a_run_on_gpus_without_any_is_refused(runs: Runs, tmp_path: Path) -> None:
    child = runs.start("a", fake_nvidia_smi(tmp_path, ""), accelerator="gpu")
    _, said = child.communicate(timeout=20)
    assert child.returncode == 69
    assert "compute.accelerator=gpu, but there is no GPU here that the run may use" in said


def test_a_step_sees_the_gpus_in_the_order_of_the_bus(runs: Runs, nvidia_smi: Path) -> None:
    assert runs.start("a", nvidia_smi, step=dumping()).wait(20) == 0
    env = seen(runs.base / "a")["env"]
    assert isinstance(env, dict)
    assert env["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
