"""How a worker process runs its program, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from smtrain import worker

# What the interpreter does after all exit functions is marked by the last of them: of the first module imported at all.
MARKED = """
import atexit, pathlib
atexit.register(lambda: pathlib.Path("torn-down").touch())
"""

PROGRAM = """
import atexit, json, sys, threading, time
atexit.register(lambda: print("exit function", flush=False))
threading.Thread(target=lambda: (time.sleep(0.2), print("thread", flush=False))).start()
print(json.dumps([__name__, sys.argv[1:]]), flush=False)
{end}
"""

# A process is done while its thread, which hardly gets a turn, still holds what was gathered.
GLOO = """
import os, torch
import torch.distributed as dist

def train():
    dist.init_process_group("gloo")
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(400, 4000))
    model(torch.randn(2, 400)).sum().backward()
    for thread in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{thread}/comm") as name:
            if name.read().startswith("pt_gloo"):
                os.sched_setscheduler(int(thread), os.SCHED_IDLE, os.sched_param(0))
    model(torch.randn(2, 400)).sum().backward()
    dist.all_gather([torch.zeros(1), torch.zeros(1)], torch.ones(1))
    dist.destroy_process_group()

train()
"""


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "sitecustomize.py").write_text(MARKED)
    return subprocess.run(
        (sys.executable, worker.__file__, *words),
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture(params=["module", "file"])
def entry(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return ("-m", "package.program") if request.param == "module" else ("package/program.py",)


def program(folder: Path, end: str) -> None:
    (folder / "package").mkdir()
    (folder / "package" / "__init__.py").touch()
    (folder / "package" / "beside.py").write_text("WORD = 'beside'\n")
    (folder / "package" / "program.py").write_text(PROGRAM.format(end=end))


def test_a_program_ends_before_the_interpreter_is_torn_down(tmp_path: Path, entry: tuple[str, ...]) -> None:
    program(tmp_path, "")
    done = run(tmp_path, *entry, "-m", "--", "a b")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ['["__main__", ["-m", "--", "a b"]]', "thread", "exit function"]
    assert not (tmp_path / "torn-down").exists()


@pytest.mark.parametrize(
    ("end", "code", "told"),
    [
        ("sys.exit()", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("sys.exit(-1)", 255, ""),
        ("sys.exit('no data')", 1, "no data\n"),
    ],
)
def test_the_exit_code_is_the_programs(tmp_path: Path, entry: tuple[str, ...], end: str, code: int, told: str) -> None:
    program(tmp_path, end)
    done = run(tmp_path, *entry)
    assert (done.returncode, done.stderr) == (code, told)
    assert done.stdout.endswith("exit function\n")
    assert not (tmp_path / "torn-down").exists()


def test_an_error_is_told_as_ever(tmp_path: Path, entry: tuple[str, ...]) -> None:
    program(tmp_path, "raise ValueError('a column is missing')")
    done = run(tmp_path, *entry)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback (most recent call last):\n")
    assert done.stderr.endswith("\nValueError: a column is missing\n")
    assert done.stdout.endswith("exit function\n")
    assert (tmp_path / "torn-down").exists(), "the mark that the other tests look for"


def test_a_program_finds_what_it_would_find_without(tmp_path: Path) -> None:
    program(tmp_path, "")
    script = "import sys, {}; print(sys.argv[0].endswith('program.py'), {}.WORD)"
    (tmp_path / "package" / "program.py").write_text(script.format("package.beside as b", "b"))
    assert run(tmp_path, "-m", "package.program").stdout == "True beside\n"
    (tmp_path / "package" / "program.py").write_text(script.format("beside as b", "b"))
    assert run(tmp_path, "package/program.py").stdout == "True beside\n"


@pytest.fixture
def busy() -> Iterator[None]:
    """Has every processor at work."""
    hogs = [subprocess.Popen((sys.executable, "-c", "while True: pass")) for _ in range(os.cpu_count() or 1)]
    yield
    for hog in hogs:
        hog.kill()
        hog.wait()


@pytest.mark.slow
@pytest.mark.usefixtures("busy")
def test_a_thread_of_gloos_that_is_late_aborts_nothing(tmp_path: Path) -> None:
    """Without the worker, two of five such trainings end with "terminate called without an active exception"."""
    pytest.importorskip("torch")
    (tmp_path / "program.py").write_text(GLOO)
    launch = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    for _ in range(3):
        done = subprocess.run(
            (*launch, worker.__file__, "program.py"),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
        assert done.returncode == 0, done.stderr[-3000:]
