"""An environment of its own for TRL, in which everything else is what this environment has."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

PACKAGES = ("trl==1.16.0", "datasets==4.7.0")
"""The newest TRL, and the least `datasets` that it takes."""


def interpreter(folder: Path) -> Path:
    """Returns the environment's Python; makes what is missing.

    Args:
      folder: of the environment.
    """
    python = folder / "bin" / "python"
    if not python.is_file():
        print(f"Making {folder} with {', '.join(PACKAGES)}", flush=True)
        subprocess.run((sys.executable, "-m", "venv", "--without-pip", str(folder)), check=True)
    inside = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    # What is installed there comes first; the rest, torch and transformers among it, is found here.
    here = sysconfig.get_path("purelib")
    (inside / "base.pth").write_text(f"import site; site.addsitedir({here!r})\n", encoding="utf-8")
    names = [package.partition("==")[::2] for package in PACKAGES]
    if not all((inside / f"{name}-{version}.dist-info").is_dir() for name, version in names):
        pip = (str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--ignore-installed", *PACKAGES)
        subprocess.run(pip, check=True)
    return python
