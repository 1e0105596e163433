"""What a compile may not import: each of these would cost more than the compile itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = frozenset(
    {
        "torch", "transformers", "llamafactory", "deepspeed", "boto3", "sagemaker", "datasets", "pyarrow", "pandas",
        "numpy", "rich", "jsonschema", "matplotlib",
    }
)  # fmt: skip


def imported(folder: Path, *words: str) -> set[str]:
    """Returns the top-level packages that a command imports."""
    argv = (sys.executable, "-X", "importtime", "-m", "smtrain.cli", *words)
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=True)
    rows = [line.rpartition("|") for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {module.strip().partition(".")[0] for _, _, module in rows}


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("trainer=lf_dpo", "strategy=zero3", "compute.processes_per_node=2", "tuning=full"),
        ("trainer=lf_export", "model.adapter=ORG/ADAPTER"),
    ],
    ids=" ".join,
)
def test_plan_imports_nothing_heavy(words: tuple[str, ...], tmp_path: Path) -> None:
    found = imported(tmp_path, "plan", *words)
    assert {"smtrain", "hydra", "smtrain_llamafactory"} <= found
    assert found & HEAVY == set()


@pytest.mark.parametrize("words", [("--version",), ("ps",)], ids=" ".join)
def test_what_composes_nothing_does_not_import_hydra(words: tuple[str, ...], tmp_path: Path) -> None:
    assert imported(tmp_path, *words) & {*HEAVY, "hydra", "omegaconf"} == set()
