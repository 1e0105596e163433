"""What the tests about LLaMA-Factory share: its source distribution, and its own parser in a process of its own."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VERSION = "0.9.5"

Runner = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def llamafactory_sdist(request: pytest.FixtureRequest) -> Path:
    """LLaMA-Factory's unpacked source distribution, with its examples; downloaded once."""
    cache = Path(request.config.cache.mkdir("llamafactory-sdist"))
    unpacked = cache / f"llamafactory-{VERSION}"
    if not unpacked.is_dir():
        archive = _download(cache)
        shutil.unpack_archive(archive, cache / "unpacking")
        (cache / "unpacking" / unpacked.name).rename(unpacked)
    return unpacked


def _download(folder: Path) -> Path:
    requirement = f"llamafactory=={VERSION}"
    # --no-build-isolation and --no-deps: nothing is built or installed, only the archive is wanted.
    command = (
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"),
        *("--no-binary", "llamafactory", "--dest", str(folder), requirement),
    )
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    archive = folder / f"llamafactory-{VERSION}.tar.gz"
    if done.returncode != 0 or not archive.is_file():
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        pytest.skip(f"the source distribution of {requirement} could not be downloaded from PyPI: {last}")
    return archive


@pytest.fixture(scope="session")
def with_llamafactory() -> Runner:
    """Runs a Python script in a process that may import LLaMA-Factory, which takes seconds and much memory."""
    if not any(importlib.metadata.distributions(name="llamafactory")):
        pytest.skip("LLaMA-Factory is not installed here")

    def run(script: Path, *, stdin: str = "", distributed: bool = False) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            (sys.executable, str(script)),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            env={**os.environ, "HF_HUB_OFFLINE": "1", **(_one_process() if distributed else {})},
        )

    return run


def _one_process() -> dict[str, str]:
    """Returns what torchrun would set for a single process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
    return {**ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
