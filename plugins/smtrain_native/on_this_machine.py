"""The run time, executed on this machine: in a process of its own, since what it imports has no place in ours."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from smtrain.plugin import ExitCode, Job, fail

_ALWAYS = ("filelock", "numpy", "pyarrow", "tqdm", "transformers")

_LOOK = """\
import importlib.util, sys
print(*(name for name in sys.argv[1:] if importlib.util.find_spec(name) is None))
"""
_PATIENCE_S = 60.0
_GRACE_S = 5.0

_CODES = {
    0: ExitCode.DONE,
    2: ExitCode.BAD_CONFIG,
    130: ExitCode.INTERRUPTED,
}


def execute(job: Job, module: str, *words: str, folder: Path, packages: tuple[str, ...] = ()) -> ExitCode:
    """Executes a module of the run time, which says itself what it finds, and what is wrong.

    Args:
      job: the run's; `backend.python` is the interpreter, where there is such a setting, and it has what is needed.
      module: below `smtrain_native.runtime`.
      *words: its arguments.
      folder: where it runs; holds the run time.
      packages: what it imports beside what tokenising does.

    Returns:
      The exit code that its own means.

    Raises:
      SmtrainError: no interpreter has what it needs.
    """
    argv = (_interpreter(job, (*_ALWAYS, *packages), folder), "-m", f"smtrain_native.runtime.{module}", *words)
    sys.stdout.flush()
    with subprocess.Popen(argv, cwd=folder) as child:
        code = _ended(child)
    return _CODES.get(code, ExitCode.WORKLOAD_FAILED)


def _ended(child: subprocess.Popen[bytes]) -> int:
    """Waits for a process; one that is interrupted with us has a while to end in its own way."""
    try:
        return child.wait()
    except KeyboardInterrupt:
        with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            child.wait(_GRACE_S)
        child.terminate()
        return ExitCode.INTERRUPTED


def _interpreter(job: Job, packages: tuple[str, ...], folder: Path) -> str:
    """Returns the first interpreter that has the packages: that of the backend may be one of the target's."""
    lacking: dict[str, str] = {}
    for python in _candidates(job):
        missing = _missing(python, packages, folder)
        if not missing:
            return python
        lacking[python] = missing
    what = "; ".join(f"`{python}` {missing}" for python, missing in lacking.items()) + "."
    fix = 'Install them (pip install "smtrain[native]"), or set backend.python to an interpreter that has them.'
    raise fail(what, fix, code=ExitCode.MISSING_HERE)


def _candidates(job: Job) -> Iterator[str]:
    named = getattr(job.run.backend.options, "python", None)
    if isinstance(named, str):
        found = str(Path(named).expanduser().absolute()) if "/" in named else shutil.which(named)
        if found:
            yield found
    yield sys.executable


def _missing(python: str, packages: tuple[str, ...], folder: Path) -> str:
    """Returns what an interpreter lacks, "" if nothing."""
    try:
        done = subprocess.run(
            (python, "-c", _LOOK, *packages),
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "is no Python that starts"
    names = done.stdout.split()
    return f"lacks {', '.join(names)}" if names else ""
