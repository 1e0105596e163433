"""The example plugin, installed by pip from another directory, works with no change to the core."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from test_packaging import ROOT, copy_of_sources, install, run

pytestmark = pytest.mark.slow

PYPROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "{name}"
version = "{version}"
[project.entry-points.smtrain]
{module} = "{module}"
[tool.setuptools]
py-modules = ["{module}"]
"""

TWIN = """\
from smtrain.plugin import TrainerSpec, hookimpl

@hookimpl
def smtrain_trainers():
    return [TrainerSpec(name="ngram", load="acme_twin:Twin", options="acme_twin:Options", summary="Another one.")]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A virtual environment with smtrain and the example plugin."""

    python: Path
    plugin: Path

    def smtrain(self, *words: str, cwd: Path, expect: int = 0) -> subprocess.CompletedProcess[str]:
        argv: tuple[str | Path, ...] = (self.python.with_name("smtrain"), *words)
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(argv, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == expect, f"{argv}\n{done.stdout}\n{done.stderr}"
        return done

    @contextmanager
    def also(self, folder: Path, *, name: str, version: str, text: str) -> Iterator[None]:
        """Has one more plugin, of one module, installed for a while."""
        module = name.replace("-", "_")
        folder.mkdir()
        project = PYPROJECT.format(name=name, version=version, module=module)
        (folder / "pyproject.toml").write_text(project, encoding="utf-8")
        (folder / f"{module}.py").write_text(text, encoding="utf-8")
        run(self.python, "-m", "pip", "install", "--quiet", folder)
        try:
            yield
        finally:
            run(self.python, "-m", "pip", "uninstall", "--quiet", "--yes", name)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    plugin = tmp_path_factory.mktemp("elsewhere") / "plugin"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    shutil.copytree(ROOT / "examples" / "plugin", plugin, ignore=ignored)
    sources = copy_of_sources(tmp_path_factory.mktemp("sources"))
    programs = install(tmp_path_factory.mktemp("venv") / "venv", sources, plugin, "pytest")
    return Environment(python=programs / "python", plugin=plugin)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": f"tide number {n} comes in"}) + "\n" for n in range(32)), "utf-8")
    return path


def last_line(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def words_for(rows: Path) -> tuple[str, ...]:
    return ("backend=nice", "trainer=ngram", "data=text", f"data.path={rows.name}", "global_batch_size=4")


def test_its_own_tests_pass_where_it_is_installed(environment: Environment, tmp_path: Path) -> None:
    tests = environment.plugin / "tests"
    # Not from the plugin's folder, so that the installed package is imported.
    out = run(environment.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests, cwd=tmp_path)
    assert " passed" in out
    assert "skipped" not in out


def test_plan_and_run_end_to_end(environment: Environment, rows: Path, tmp_path: Path) -> None:
    planned = last_line(environment.smtrain("plan", *words_for(rows), "--json", cwd=tmp_path))
    ended = last_line(environment.smtrain("run", *words_for(rows), "--json", cwd=tmp_path))

    assert planned["run_id"] == ended["run_id"]
    assert planned["steps"] == 8
    assert ended["state"] == "succeeded"
    run_dir = tmp_path / str(ended["run_dir"])
    manifest = json.loads((run_dir / "bundle" / "manifest.json").read_text(encoding="utf-8"))
    metrics = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert manifest["plugins"] == {"smtrain": manifest["plugins"]["smtrain"], "smtrain-ngram": "1.0.0"}
    assert [row["step"] for row in metrics] == list(range(1, 9))
    assert metrics[-1]["loss"] < metrics[0]["loss"]
    assert (run_dir / "output" / "model" / "model.json").is_file()


def test_sweep_goes_over_its_options(environment: Environment, rows: Path, tmp_path: Path) -> None:
    environment.smtrain("-m", *words_for(rows), "trainer.order=1,2", cwd=tmp_path)
    orders = {
        json.loads(path.read_text(encoding="utf-8"))["order"]
        for path in (tmp_path / "runs").glob("*/output/model/model.json")
    }
    assert orders == {1, 2}


def test_explain_knows_its_options_and_its_config_files(environment: Environment, tmp_path: Path) -> None:
    told = last_line(environment.smtrain("explain", "trainer.order", "trainer=ngram", "--json", cwd=tmp_path))
    assert told["doc"] == "Characters in an n-gram."
    assert str(told["origin"]).endswith("smtrain_ngram/conf/trainer/ngram.yaml:9")


def test_plugins_lists_it_with_its_distribution(environment: Environment, tmp_path: Path) -> None:
    listed = last_line(environment.smtrain("plugins", "--json", cwd=tmp_path))
    for kind, name in (("trainer", "ngram"), ("backend", "nice")):
        (offer,) = [offer for offer in listed[kind] if offer["name"] == name]
        assert offer["from"] == "smtrain-ngram 1.0.0"


def test_broken_plugin_is_named_and_takes_nothing_down(environment: Environment, rows: Path, tmp_path: Path) -> None:
    text = "import no_such_module_anywhere\n"
    with environment.also(tmp_path / "broken", name="acme-broken", version="0.3", text=text):
        planned = environment.smtrain("plan", *words_for(rows), cwd=tmp_path)
        listed = environment.smtrain("plugins", "--json", cwd=tmp_path, expect=3)

    assert "acme-broken 0.3" in planned.stderr
    assert "no_such_module_anywhere" in planned.stderr
    (broken,) = last_line(listed)["broken"]
    assert "acme-broken 0.3" in broken
    assert any(offer["name"] == "ngram" for offer in last_line(listed)["trainer"])


def test_one_name_of_two_plugins_is_an_error_that_names_both(
    environment: Environment, rows: Path, tmp_path: Path
) -> None:
    with environment.also(tmp_path / "twin", name="acme-twin", version="2.1", text=TWIN):
        refused = environment.smtrain("plan", *words_for(rows), cwd=tmp_path, expect=3)

    assert "`ngram`" in refused.stderr
    assert "acme-twin 2.1" in refused.stderr
    assert "smtrain-ngram 1.0.0" in refused.stderr
    assert not (tmp_path / "runs").exists()
