"""Paths on the cluster, which stand in lines that sbatch reads and in lists of mounts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from smtrain.plugin import Job, Problem
from smtrain_hyperpod.slurm.options import SlurmOptions

# sbatch takes % for a pattern, a list of mounts the comma and the colon; quotes and spaces are a trap in both.
_PLAIN = re.compile(r"/[A-Za-z0-9_.@+=/-]*", re.ASCII)
_FIX = "Use letters, digits and `_ . @ + = -` alone, and no `..`."
_NO_PLACES = ("/", "/tmp", "/dev", "/proc", "/sys", "/etc", "/usr", "/home")


def problems(job: Job, options: SlurmOptions) -> Iterator[Problem]:
    """Yields which paths cannot be used."""
    for name in ("shared_dir", "scratch_dir", "venv", "env_file"):
        path = getattr(options, name)
        if path is not None and not is_plain(path.replace("~/", "/", 1)):
            yield Problem(key=f"backend.{name}", what=f"{path!r} is no plain path.", fix=_FIX)
    if options.shared_dir.rstrip("/") in {place.rstrip("/") for place in _NO_PLACES}:
        what = f"`{options.shared_dir}` is no folder that nodes share for this."
        yield Problem(key="backend.shared_dir", what=what, fix="Name a folder of yours, e.g. /fsx/NAME/smtrain.")
    yield from _output(job.run.storage.output)


def is_plain(path: str) -> bool:
    """Whether a path can stand anywhere as it is."""
    return bool(_PLAIN.fullmatch(path)) and ".." not in PurePosixPath(path).parts


def _output(given: str | None) -> Iterator[Problem]:
    if given is None:
        return
    if given.startswith("s3://"):
        if not is_plain(f"/{given.removeprefix('s3://')}"):
            yield Problem(
                key="storage.output", what=f"`{given}` is no plain s3:// URI.", fix="Write s3://BUCKET/PREFIX."
            )
    elif not is_plain(given):
        what = f"{given!r} is neither a full path on the cluster nor an s3:// URI."
        fix = f"Write s3://BUCKET/PREFIX or /PATH, or leave it out to keep results in shared_dir.\n{_FIX}"
        yield Problem(key="storage.output", what=what, fix=fix)
