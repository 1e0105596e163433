"""What the image lacks is installed, once, pinned, and without touching its torch."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from agent_runs import Target, plan


def wheel(folder: Path, name: str, version: str, requires: str = "") -> Path:
    """Writes a wheel with one module."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    about = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}.py", f"version = {version!r}\n")
        file.writestr(f"{about}/METADATA", metadata + (f"Requires-Dist: {requires}\n" if requires else ""))
        file.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{about}/RECORD", "")
    return path


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter of its own, which has a torch."""
    folder = tmp_path_factory.mktemp("image")
    subprocess.run((sys.executable, "-m", "venv", str(folder / "env")), check=True)
    python = folder / "env" / "bin" / "python"
    torch = wheel(folder, "torch", "2.4.0")
    subprocess.run((str(python), "-m", "pip", "install", "-q", "--no-index", str(torch)), check=True)
    return python


@pytest.fixture
def on_image(one: Target, image: Path) -> Target:
    one.python = str(image)
    return one


def installing(*packages: tuple[str, str], **changes: object) -> dict[str, object]:
    rows = [{"name": name, "specifier": specifier} for name, specifier in packages]
    return plan(install={"packages": rows, "mode": "auto", **changes})


SHOW = '"$SMTRAIN_PYTHON" -c "import trainer, torch; print(trainer.version, torch.version)"'


def test_what_is_lacking_comes_from_the_bundles_wheels_and_only_once(on_image: Target) -> None:
    wheel(on_image.node() / "wheels dir", "trainer", "0.9.5")
    document = installing(("trainer", "==0.9.5"), wheels_dir="wheels dir")
    first = on_image.run(document, SHOW)
    assert first.code == 0, first.log
    assert "installing: trainer==0.9.5 is not installed" in first.log
    assert "0.9.5 2.4.0" in first.log
    assert "installing" not in on_image.run(document, SHOW).log


def test_another_version_is_replaced_by_the_pinned_one(on_image: Target) -> None:
    wheel(on_image.node() / "wheels", "trainer", "1.0")
    ended = on_image.run(
        installing(("trainer", "==1.0"), wheels_dir="${PLACE}/wheels"), SHOW, PLACE=str(on_image.node())
    )
    assert ended.code == 0, ended.log
    assert "1.0 2.4.0" in ended.log


def test_the_images_torch_is_not_replaced(on_image: Target) -> None:
    folder = on_image.node() / "wheels"
    wheel(folder, "hungry", "1.0", requires="torch>=2.9")
    wheel(folder, "torch", "2.9.0")
    ended = on_image.run(installing(("hungry", "==1.0"), wheels_dir="wheels"), "echo ran")
    assert ended.code == 69
    assert "pip could not install hungry==1.0" in ended.failure
    # The machine's own pip may have constraints too.
    assert re.search(r"\(constraint\) torch\S*==2\.4\.0", ended.failure)
    found = subprocess.run(
        (on_image.python, "-c", "import torch; print(torch.version)"), capture_output=True, check=True
    )
    assert found.stdout == b"2.4.0\n"


def test_what_may_not_be_installed_is_told(on_image: Target) -> None:
    ended = on_image.run(installing(("nowhere-to-be-had", ">=2"), mode="never"), "echo ran")
    assert ended.code == 69
    assert ended.failure.startswith("nowhere-to-be-had>=2 is not installed")
    assert "ran" not in ended.log.splitlines()


def test_a_package_that_no_wheel_has_is_told_with_pips_last_lines(on_image: Target) -> None:
    wheel(on_image.node() / "wheels", "other", "1.0")
    ended = on_image.run(installing(("nowhere-to-be-had", "==2"), wheels_dir="wheels"), "true")
    assert ended.code == 69
    assert "pip could not install nowhere-to-be-had==2" in ended.failure
    assert "No matching distribution found" in ended.failure


def test_a_requirements_file_is_installed_too(on_image: Target) -> None:
    wheel(on_image.node() / "wheels", "extra", "3.0")
    (on_image.node() / "needs.txt").write_text("extra==3.0\n")
    ended = on_image.run(
        installing(requirements="needs.txt", wheels_dir="wheels"),
        '"$SMTRAIN_PYTHON" -c "import extra; print(extra.version)"',
    )
    assert ended.code == 0, ended.log
    assert "3.0" in ended.log.splitlines()


def test_an_interpreter_that_is_not_there_is_told(one: Target) -> None:
    ended = one.run(installing(("trainer", "==1")), "true", SMTRAIN_PYTHON="/no/such/python")
    assert ended.code == 69
    assert "/no/such/python does not start" in ended.failure
