"""Small programs, and jobs around them, for tests that launch for real."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from smtrain.sections import Compute, Data, Launcher, Model, Storage, Strategy
from smtrain.spec import (
    Batch,
    Bundle,
    Job,
    LocalFile,
    ModelSource,
    Output,
    OutputKind,
    Program,
    ResolvedModel,
    Run,
    RuntimeVar,
    Scope,
    Selected,
    Step,
    TextFile,
    Topology,
    Word,
)

DUMP = """\
import json, os, sys
with open(sys.argv[1], "w") as file:
    json.dump({"argv": sys.argv[2:], "env": dict(os.environ), "cwd": os.getcwd(), "files": sorted(os.listdir())}, file)
"""
"""Writes its arguments and environment to the file that its first argument names."""


def dumping(*words: Word, to: str = "seen.json", name: str = "dump", scope: Scope = Scope.FIRST_NODE) -> Step:
    """Returns a step that writes down its words; the program needs the file `dump.py`."""
    return Step(name=name, argv=(RuntimeVar.PYTHON, "dump.py", to, *words), scope=scope)


def python_step(source: str, *words: Word, name: str = "train", scope: Scope = Scope.FIRST_NODE) -> Step:
    """Returns a step that runs Python source."""
    return Step(name=name, argv=(RuntimeVar.PYTHON, "-c", source, *words), scope=scope)


def program(*steps: Step, **fields: object) -> Program:
    """Returns a program with these steps, and `dump.py`."""
    files = (TextFile(path="dump.py", text=DUMP),)
    return Program(steps=steps, **{"files": files, **fields})  # type: ignore[arg-type]  # a test's own fields


CHECKPOINTS = Output(
    name="adapter",
    path="out",
    kinds=(OutputKind.MODEL, OutputKind.CHECKPOINTS),
    checkpoint_glob="checkpoint-*",
    checkpoint_complete="trainer_state.json",
)


def job(
    *,
    name: str = "probe",
    processes: int = 1,
    nodes: int = 1,
    accelerator: str = "cpu",
    output: str | None = None,
    env: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
) -> Job:
    """Returns a job that trains nothing."""
    run = Run(
        name=name,
        backend=Selected(name="local", options=None),
        trainer=Selected(name="probe", options=None),
        model=Model(path="ORG/NAME"),
        data=Data(),
        strategy=Strategy(),
        launcher=Launcher(),
        compute=Compute(nodes=nodes, processes_per_node=processes),
        storage=Storage(output=output),
        global_batch_size=None,
        micro_batch_size=None,
        gradient_accumulation_steps=None,
        seed=1,
        env=env or {},
        secrets=secrets or {},
    )
    return Job(
        run=run,
        topology=Topology(nodes=nodes, processes_per_node=processes, accelerator=accelerator),
        batch=Batch(global_size=1, micro_size=1, accumulation=1),
        model=ResolvedModel(reference="ORG/NAME", source=ModelSource.HUB),
        datasets=(),
    )


def write(bundle: Bundle, run_dir: Path) -> Path:
    """Writes a bundle's files into a run's folder and returns that."""
    for file in bundle.files:
        path = run_dir / "bundle" / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        content = file.content
        path.write_bytes(content.path.read_bytes() if isinstance(content, LocalFile) else content)
    return run_dir


def environment(base: Path, **more: str) -> dict[str, str]:
    """Returns the environment that a command hands to a workload, with leases of the test's own."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("SMTRAIN_", "CUDA_", "OMP_"))}
    return {
        **own,
        "SMTRAIN_BASE": str(base),
        "SMTRAIN_PYTHON": sys.executable,
        "SMTRAIN_LEASE_DIR": str(base / "leases"),
        **more,
    }


def seen(run_dir: Path, name: str = "seen.json") -> dict[str, object]:
    """Returns what `dump.py` wrote."""
    document = json.loads((run_dir / "work" / name).read_text())
    assert isinstance(document, dict)
    return document
