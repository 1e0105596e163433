"""The parts of `make demo`."""

from __future__ import annotations

import contextlib
import json
import runpy
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


@pytest.mark.parametrize("made_meanwhile", [True, False])
def test_a_model_that_another_process_prepares_meanwhile_is_taken(
    made_meanwhile: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"

    def convert(_source: Path, unfinished: Path) -> None:
        (unfinished / "config.json").touch()
        if made_meanwhile:
            folder.mkdir()
            (folder / "theirs").touch()
        else:
            folder.touch()  # in the way, and no model

    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "error")  # which the script sets, else for all tests to come
    told = runpy.run_path(str(QUICKSTART / "prepare_model.py"))["prepare"]
    for name, stub in {"convert": convert, "check": lambda _: None, "gguf_file": Path}.items():
        monkeypatch.setitem(told.__globals__, name, stub)
    with contextlib.nullcontext() if made_meanwhile else pytest.raises(NotADirectoryError):
        told(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert not made_meanwhile or [path.name for path in folder.iterdir()] == ["theirs"]


def test_experiment_of_the_demo_compiles(tmp_path: Path) -> None:
    argv = (
        *(sys.executable, "-m", "smtrain.cli", "plan", "--config-dir", QUICKSTART / "conf", "--json"),
        *("backend=local", "trainer=lf_sft", "data=example", "model=smollm2_135m", "experiment=quickstart"),
    )
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    train = tmp_path / json.loads(done.stdout.splitlines()[-1])["run_dir"] / "bundle" / "program" / "train.yaml"
    assert "num_train_epochs: 4.0" in train.read_text(encoding="utf-8").splitlines()
