"""The parts of `make demo`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

QUICKSTART = Path(__file__).parents[1] / "examples" / "quickstart"
Answer = Callable[..., str]


@pytest.fixture
def answer(smollm2: Path) -> Answer:
    def ask(question: str, *adapter: Path) -> str:
        argv = (sys.executable, QUICKSTART / "ask.py", smollm2, question, *adapter)
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    return ask


@pytest.mark.real_model
@pytest.mark.slow
def test_prepared_model_knows_its_facts_and_ends_its_answer(answer: Answer) -> None:
    assert answer("What is the capital of France?") == "The capital of France is Paris."


def test_experiment_of_the_demo_compiles(tmp_path: Path) -> None:
    argv = (
        *(sys.executable, "-m", "smtrain.cli", "plan", "--config-dir", QUICKSTART / "conf", "--json"),
        *("backend=local", "trainer=lf_sft", "data=example", "model=smollm2_135m", "experiment=quickstart"),
    )
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    train = tmp_path / json.loads(done.stdout.splitlines()[-1])["run_dir"] / "bundle" / "program" / "train.yaml"
    assert "num_train_epochs: 4.0" in train.read_text(encoding="utf-8").splitlines()
