"""The folders of runs: which there are, finding one, naming it.

A run's folder holds `bundle/`, `receipt.json`, `workload.json` (which process), `step` and `exit_code` (recorded by the
launch script), `stop` (somebody asked it to end), `logs/`, `work/`, `output/`, `metrics.jsonl`, `loss.png`, and `lock`,
which every process of the run holds.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from smtrain import receipts
from smtrain.errors import fail


def all_runs(folder: Path) -> tuple[Path, ...]:
    """Returns the run folders in a folder, by name."""
    if not folder.is_dir():
        return ()
    return tuple(sorted(each for each in folder.iterdir() if not each.name.startswith(".") and _is_run(each)))


def find(folder: Path, name: str) -> Path:
    """Returns the folder of the run with this id, or of the only one whose id starts so; a path will do, too.

    Raises:
      SmtrainError: no run, or more than one.
    """
    if _is_run(folder / name):
        return folder / name
    if "/" in name and _is_run(Path(name)):
        return Path(name)
    known = all_runs(folder)
    found = [each for each in known if each.name.startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        what = f"`{name}` may be any of {len(found)} runs in {folder}."
        raise fail(what, _listing(found))
    what = f"There is no run `{name}` in {folder}."
    raise fail(what, _listing(known) or "Say where they are: --runs-dir FOLDER")


def spoken(run_dir: Path) -> str:
    """Returns how to name a run on the command line, quoted for the shell."""
    return run_dir.name if run_dir.parent.absolute() == Path("runs").absolute() else shlex.quote(str(run_dir))


def _is_run(folder: Path) -> bool:
    return (folder / receipts.FILE).is_file() or (folder / "bundle").is_dir()


def _listing(found: list[Path] | tuple[Path, ...], most: int = 10) -> str:
    names = [each.name for each in found]
    rest = f"\nand {len(names) - most} more" if len(names) > most else ""
    return "Say which: " + "\n".join(names[:most]) + rest if names else ""
