"""Virtual environments of their own for the SageMaker SDKs and the training toolkit.

They cannot live beside smtrain's dependencies: they take protobuf, pyarrow and rich back to older versions. Each is
made once, in .cache/ of the repository, and used by every later run.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

REQUIREMENTS: Mapping[str, tuple[str, ...]] = {
    # The part of sagemaker 3.27.0 that trains. The rest, for endpoints and pipelines, is 300 MB, and its s3fs sends pip
    # back through five years of releases.
    "sdk-v3": ("sagemaker-train==1.27.0", "sagemaker-core==2.27.0"),
    "sdk-v2": ("sagemaker==2.257.7",),
    # What AWS's own training images start by `train`.
    "toolkit": ("sagemaker-training==5.1.4",),
}


def python(name: str) -> Path:
    """Returns the interpreter of an environment; makes it first where it is not there.

    Skips the calling test, saying why, where pip cannot make it.
    """
    requirements = REQUIREMENTS[name]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256("\n".join((*requirements, version)).encode()).hexdigest()[:8]
    folder = ROOT / ".cache" / f"{name}-{digest}"
    folder.parent.mkdir(exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        # Tests that run side by side wait for the one that makes it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            _make(folder, requirements)
    return folder / "bin" / "python"


def _make(folder: Path, requirements: tuple[str, ...]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run((sys.executable, "-m", "venv", str(folder)), check=True)
    pip = (str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    made = subprocess.run((*pip, *requirements), capture_output=True, text=True, env=_environment(), check=False)
    if made.returncode:
        shutil.rmtree(folder)
        said = [line for line in made.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
        pytest.skip(f"{', '.join(requirements)} cannot be installed here: {said[-1]}")
    (folder / "complete").touch()


def _environment() -> dict[str, str]:
    return {**os.environ, "PIP_DEFAULT_TIMEOUT": os.environ.get("PIP_DEFAULT_TIMEOUT", "30"), "PYTHONPATH": ""}
