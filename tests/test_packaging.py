"""What is installed is whole: from a wheel and editable, without torch, from any directory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FOLDER_OF = PYPROJECT["tool"]["setuptools"]["package-dir"]
PLAN = (
    "plan",
    "backend=local",
    "trainer=lf_sft",
    "data=example",
    "model=custom",
    "model.path=ORG/NAME",
    "model.template=smollm2",
)


def copy_of_sources(folder: Path) -> Path:
    """Building writes beside the sources, so it is given its own."""
    for name in ("smtrain", "conf", "schemas", "plugins"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, folder)
    return folder


def run(*argv: str | Path, cwd: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(argv, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def install(environment: Path, *what: str | Path) -> Path:
    """Makes a virtual environment, installs into it, and returns its folder of programs."""
    venv.create(environment, with_pip=True)
    run(environment / "bin" / "python", "-m", "pip", "install", "--quiet", *what)
    return environment / "bin"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sources = copy_of_sources(tmp_path_factory.mktemp("sources"))
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", out, sources)
    (built,) = out.glob("*.whl")
    return built


def test_every_package_folder_is_listed_in_pyproject() -> None:
    listed = set(PYPROJECT["tool"]["setuptools"]["packages"])
    found = {
        ".".join((name, *init.parent.relative_to(ROOT / folder).parts))
        for name, folder in FOLDER_OF.items()
        for init in (ROOT / folder).rglob("__init__.py")
    }
    assert listed == found


@pytest.mark.slow
def test_wheel_carries_every_source_config_schema_and_example_row(wheel: Path) -> None:
    carried = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        (Path(name) / file.relative_to(ROOT / folder)).as_posix()
        for name, folder in FOLDER_OF.items()
        for file in (ROOT / folder).rglob("*")
        if file.suffix in {".py", ".yaml", ".json", ".jsonl", ".typed"}
    }
    assert wanted - carried == set()


@pytest.mark.slow
def test_wheel_plans_from_an_empty_directory_without_torch(wheel: Path, tmp_path: Path) -> None:
    programs = install(tmp_path / "venv", wheel)
    empty = tmp_path / "empty"
    empty.mkdir()

    planned = json.loads(run(programs / "smtrain", *PLAN, "--json", cwd=empty).splitlines()[-1])

    assert (empty / planned["run_dir"] / "bundle" / "manifest.json").is_file()
    assert run(programs / "python", "-c", "import importlib.util as u; print(u.find_spec('torch'))").strip() == "None"


@pytest.mark.slow
def test_editable_install_reads_configs_live(tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    sources.mkdir()
    programs = install(tmp_path / "venv", "--editable", copy_of_sources(sources))
    experiment = sources / "conf" / "experiment" / "written_later.yaml"
    experiment.parent.mkdir(exist_ok=True)
    experiment.write_text("# @package _global_\nname: written-later\n", encoding="utf-8")
    empty = tmp_path / "empty"
    empty.mkdir()

    planned = json.loads(
        run(programs / "smtrain", *PLAN, "experiment=written_later", "--json", cwd=empty).splitlines()[-1]
    )

    assert planned["run_id"].startswith("written-later-")
