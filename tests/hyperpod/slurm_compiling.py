"""A Slurm job's overrides, and what compiling them gives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from smtrain.errors import Problem, SmtrainError
from smtrain.pipeline import Compiled
from smtrain.spec import Json
from smtrain.testing import compile_overrides

JOB = (
    "backend=hyperpod_slurm",
    "backend.shared_dir=/fsx/team/smtrain",
    "compute=gpu",
    "compute.gpus_per_node=8",
    "compute.nodes=2",
    "strategy=ddp",
    "trainer=lf_sft",
    "model=custom",
    "model.path=ORG/NAME",
    "model.template=llama3",
    "trainer.args.bf16=true",
)


def compiled(*overrides: str, config_dir: Path | None = None) -> Compiled:
    """Returns a compiled job."""
    return compile_overrides((*JOB, *overrides), config_dir=config_dir)


def files(*overrides: str) -> Mapping[str, str]:
    """Returns path → text of the files that smtrain writes itself."""
    found = compiled(*overrides).bundle.files
    return {each.path: each.content.decode() for each in found if isinstance(each.content, bytes)}


def directives(*overrides: str) -> list[str]:
    """Returns what job.sbatch asks sbatch for."""
    lines = files(*overrides)["job.sbatch"].splitlines()
    return [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH ")]


def document(name: str, *overrides: str) -> dict[str, Json]:
    """Returns a JSON file of the bundle."""
    content = json.loads(files(*overrides)[name])
    assert isinstance(content, dict)
    return content


def errors(*overrides: str) -> dict[str, str]:
    """Returns key → text of the errors of a job that does not compile."""
    try:
        compiled(*overrides)
    except SmtrainError as error:
        return {problem.key: _text(problem) for problem in error.problems if problem.is_error}
    return {}


def warnings(*overrides: str) -> dict[str, str]:
    """Returns key → text of the doubts about a job."""
    return {problem.key: _text(problem) for problem in compiled(*overrides).warnings}


def _text(problem: Problem) -> str:
    return f"{problem.what} {problem.fix}"
