"""What a cluster needs of the machine that it is on."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

import cluster_life
import daemons

_PACKAGES = {"slurm-wlm": ("slurmctld", "slurmd", "sbatch", "sinfo"), "munge": ("munged",), "util-linux": ("unshare",)}
_PACKAGES_OF_ACCOUNTING = {"slurmdbd": ("slurmdbd",), "mariadb-server": ("mariadbd", "mariadb-install-db")}


def lacks(*, accounting: bool) -> Iterator[str]:
    """Yields what the machine lacks, and what to do about it.

    Args:
      accounting: whether a database is wanted.
    """
    path = daemons.environment()["PATH"]
    packages = {**_PACKAGES, **(_PACKAGES_OF_ACCOUNTING if accounting else {})}
    missing = [name for name, needed in packages.items() if not all(shutil.which(each, path=path) for each in needed)]
    if missing:
        yield f"Not installed: {', '.join(missing)}. Try: sudo apt-get install {' '.join(missing)}"
    if os.geteuid():
        yield "Nodes are namespaces of this machine, which only root may make: sudo."
    elif shutil.which("unshare") and (refused := _refused()):
        yield f"Nodes are namespaces, which nobody may make here: {refused}. In a container: --cap-add SYS_ADMIN"


def _refused() -> str:
    """Returns why the kernel does not let us make a node; "" when it does."""
    probe = (*cluster_life.NAMESPACES, "mount", "--bind", "/etc", "/etc")
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr.strip() or f"exit code {done.returncode}"
