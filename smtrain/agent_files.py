"""The agent's own sources, as files of a bundle; the same for every job of one version of smtrain."""

from __future__ import annotations

from pathlib import Path

from smtrain.spec import BundleFile

_MAIN = "from smtrain.agent.command import main\nraise SystemExit(main())\n"
_PACKAGE = '"""The part of smtrain that runs on the target."""\n'
_NOT_ON_TARGETS = frozenset({"log_lines.py"})


def agent_files(folder: str = "agent") -> tuple[BundleFile, ...]:
    """Returns the files that make `python3 FOLDER AGENT.json -- COMMAND…` work.

    Args:
      folder: path of the folder in the bundle.
    """
    sources = sorted(path for path in _sources().glob("*.py") if path.name not in _NOT_ON_TARGETS)
    return (
        BundleFile(path=f"{folder}/__main__.py", content=_MAIN.encode()),
        BundleFile(path=f"{folder}/smtrain/__init__.py", content=_PACKAGE.encode()),
        *(BundleFile(path=f"{folder}/smtrain/agent/{path.name}", content=path.read_bytes()) for path in sources),
    )


def _sources() -> Path:
    return Path(__file__).parent / "agent"
