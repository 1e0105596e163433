"""The plugin's own tests: the conformance kit of smtrain, and runs for real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from smtrain.plugin import SmtrainError
from smtrain.testing import HOSTILE, check_backend, check_trainer, compile_overrides, survives

TEXTS = tuple(f"the cat sat on the mat, and then on hat number {number}" for number in range(60))


def write_rows(path: Path, column: str = "text") -> Path:
    path.write_text("".join(json.dumps({column: text}) + "\n" for text in TEXTS), encoding="utf-8")
    return path


def write_experiment(folder: Path, document: dict[str, object]) -> Path:
    """Writes `experiment=mine`; JSON is YAML, and a backslash keeps OmegaConf from interpolating."""
    (folder / "experiment").mkdir(parents=True)
    text = json.dumps(document).replace("${", "\\\\${")
    (folder / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{text}\n", encoding="utf-8")
    return folder


def smtrain(*words: str, cwd: Path, env: dict[str, str] | None = None) -> dict[str, object]:
    """Runs the command, and returns what it prints."""
    argv = (sys.executable, "-m", "smtrain.cli", *words, "--json")
    done = subprocess.run(argv, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    answer: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_trainer_conforms(tmp_path: Path) -> None:
    check_trainer("ngram", overrides=("data=text", f"data.path={write_rows(tmp_path / 'rows.jsonl')}"))


def test_backend_conforms(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl")
    check_backend("nice", overrides=("trainer=ngram", "data=text", f"data.path={rows}"))


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_column_reaches_the_script_intact(value: str, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", column=value)
    config_dir = write_experiment(
        tmp_path / "conf", {"data": {"path": str(rows), "format": "text", "columns": {"prompt": value}}}
    )
    compiled = compile_overrides(("trainer=ngram", "backend=nice", "experiment=mine"), config_dir=config_dir)
    assert survives(compiled.program, value)


@pytest.mark.parametrize("words", [("compute.processes_per_node=2",), ("data.path=hub:ORG/NAME",)])
def test_what_the_script_cannot_do_is_refused_before_it_runs(words: tuple[str, ...], tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl")
    with pytest.raises(SmtrainError, match=r"one process|not a local"):
        compile_overrides(("trainer=ngram", "backend=nice", "data=text", f"data.path={rows}", *words))


def test_organisations_rule_asks_for_a_name(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl")
    words = ("trainer=ngram", "backend=local", "data=text", f"data.path={rows}", "storage.output=kept")
    assert [problem.key for problem in compile_overrides(words).warnings] == ["name"]
    assert not compile_overrides((*words, "name=tides")).warnings


def test_run_learns_and_reports_its_progress(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl")
    words = ("data=text", "data.path=rows.jsonl", "global_batch_size=10", "trainer.order=4", "backend.level=5")

    ended = smtrain("run", "backend=nice", "trainer=ngram", *words, cwd=tmp_path)

    run_dir = tmp_path / str(ended["run_dir"])
    losses = [json.loads(line)["loss"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert ended["state"] == "succeeded"
    assert len(losses) == len(TEXTS) / 10
    assert losses[-1] < losses[0] / 3
    model = json.loads((run_dir / "output" / "model" / "model.json").read_text())
    assert max(model["counts"]["the"], key=model["counts"]["the"].get) == " "
    assert (run_dir / "events.log").read_text() == "ended: succeeded\n"


def test_run_of_a_hostile_file_name_executes_none_of_it(tmp_path: Path) -> None:
    name = 'it\'s "mine"; $(touch pwned) `touch pwned`\\.jsonl'
    rows = write_rows(tmp_path / name, column="$(touch pwned)")
    config_dir = write_experiment(
        tmp_path / "conf", {"data": {"path": str(rows), "format": "text", "columns": {"prompt": "$(touch pwned)"}}}
    )
    words = ("backend=nice", "trainer=ngram", "experiment=mine", "secrets.TOKEN=env:HOSTILE", "--config-dir")

    ended = smtrain("run", *words, str(config_dir), cwd=tmp_path, env={"HOSTILE": "$(touch pwned)"})

    assert ended["state"] == "succeeded"
    assert not list(tmp_path.rglob("pwned"))
