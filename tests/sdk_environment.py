"""Virtual environments of their own for the SageMaker SDKs and the training toolkit.

They cannot live beside smtrain's dependencies: they take protobuf, pyarrow and rich back to older versions. Each is
made once, in .cache/ of the repository, and used by every later run.

    python tests/sdk_environment.py NAME...
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
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


class NotMadeError(Exception):
    """Pip cannot make an environment here."""


@contextlib.contextmanager
def making(names: Collection[str]) -> Iterator[None]:
    """Makes those environments that are not there, beside whatever else is done meanwhile."""
    lacking = tuple(name for name in REQUIREMENTS if name in names and not (_folder(name) / "complete").exists())
    if not lacking:
        yield
        return
    with subprocess.Popen((sys.executable, __file__, *lacking), start_new_session=True) as process:
        try:
            yield
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)


def python(name: str) -> Path:
    """Returns the interpreter of an environment; makes it first where it is not there.

    Skips the calling test, saying why, where pip cannot make it.
    """
    try:
        return _made(name)
    except NotMadeError as error:
        pytest.skip(str(error))


def _folder(name: str) -> Path:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256("\n".join((*REQUIREMENTS[name], version)).encode()).hexdigest()[:8]
    return ROOT / ".cache" / f"{name}-{digest}"


def _made(name: str) -> Path:
    folder = _folder(name)
    folder.parent.mkdir(exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        # Tests that run side by side wait for the one that makes it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            _make(folder, REQUIREMENTS[name])
    return folder / "bin" / "python"


def _make(folder: Path, requirements: tuple[str, ...]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run((sys.executable, "-m", "venv", "--without-pip", str(folder)), check=True)
    pip = (sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "--disable-pip-version-check")
    # Little of it is ever imported.
    install = (*pip, "install", "--quiet", "--no-compile", *requirements)
    made = subprocess.run(install, capture_output=True, text=True, env=_environment(), check=False)
    if made.returncode:
        shutil.rmtree(folder)
        said = [line for line in made.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
        message = f"{', '.join(requirements)} cannot be installed here: {said[-1]}"
        raise NotMadeError(message)
    (folder / "complete").touch()


def _environment() -> dict[str, str]:
    return {**os.environ, "PIP_DEFAULT_TIMEOUT": os.environ.get("PIP_DEFAULT_TIMEOUT", "30"), "PYTHONPATH": ""}


if __name__ == "__main__":
    os.nice(10)
    for each in sys.argv[1:]:
        with contextlib.suppress(NotMadeError):  # the test that needs it says so
            _made(each)
