"""Finds the checkpoint that every node goes on from, and brings it there."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from smtrain.agent import folders
from smtrain.agent.ending import say
from smtrain.agent.folders import File
from smtrain.agent.peers import Peers
from smtrain.agent.plan import Json
from smtrain.agent.uploader import Kept


def restore(kept: Iterable[Kept], peers: Peers, outputs: Path) -> dict[str, str]:
    """Brings the newest checkpoint that is whole, here or in the store, to this node.

    Args:
      kept: the outputs with checkpoints.
      peers: the other nodes, which must go on from the same one.
      outputs: folder of all outputs.

    Returns:
      Output → the checkpoint that it goes on from; an output without one is left out.

    Raises:
      AgentError: it cannot be fetched.
    """
    resumed = {}
    for one in kept:
        here: list[Json] = [folder.name for folder in _here(one)]
        choice = peers.exchange(f"resume {one.output.name}", here, partial(_choose, one))
        if isinstance(choice, dict):
            resumed[one.output.name] = _bring(one, choice, outputs)
    return resumed


def _here(kept: Kept) -> tuple[Path, ...]:
    """Returns the checkpoints that this node can go on from; the parts that several nodes have of one are none."""
    found = folders.checkpoints(kept.output, kept.folder)
    return tuple(folder for folder in found if (folder / kept.output.checkpoint_complete).exists())


def _choose(kept: Kept, here_by_rank: dict[int, Json]) -> Json:
    """Returns the choice: its name, and its files if they are in the store."""
    everywhere = set[str].intersection(
        *(set(map(str, names)) for names in here_by_rank.values() if isinstance(names, list))
    )
    here = max(everywhere, key=folders.number, default=None)
    saved = kept.saved.newest_whole()
    if (
        saved is None
        or saved.files is None
        or (here is not None and folders.number(here) >= folders.number(saved.name))
    ):
        return None if here is None else {"name": here, "files": None}
    return {"name": saved.name, "files": [[file.path, file.size] for file in saved.files]}


def _bring(kept: Kept, choice: dict[str, Json], outputs: Path) -> str:
    name, rows = str(choice["name"]), choice["files"]
    target = kept.folder / name
    if isinstance(rows, list):
        files = tuple(File(str(row[0]), int(str(row[1]))) for row in rows if isinstance(row, list))
        if folders.files(target) is None or not _has(target, files):
            _fetch(kept, name, files, outputs)
            say(f"restored {name} of output {kept.output.name} from the store")
    for folder in folders.checkpoints(kept.output, kept.folder):
        if folders.number(folder.name) > folders.number(name):
            # Not every node has it: they would go on from different steps.
            _set_aside(folder, outputs)
    return name


def _has(target: Path, files: tuple[File, ...]) -> bool:
    found = {file.path: file.size for file in folders.files(target) or ()}
    return all(found.get(file.path) == file.size for file in files)


def _fetch(kept: Kept, name: str, files: tuple[File, ...], outputs: Path) -> None:
    # Beside the outputs, where no pattern of checkpoints finds it until it is whole.
    incoming = outputs / ".smtrain-restore" / kept.output.name / name
    target = kept.folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    incoming.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and not incoming.exists():
        # This node's own part of it need not be fetched.
        target.rename(incoming)
    elif target.exists():
        _set_aside(target, outputs)
    kept.saved.fetch(name, files, incoming)
    incoming.rename(target)
    shutil.rmtree(outputs / ".smtrain-restore", ignore_errors=True)


def _set_aside(folder: Path, outputs: Path) -> None:
    number = 1
    while (outputs / f"aside-{number}" / folder.name).exists():
        number += 1
    place = outputs / f"aside-{number}"
    place.mkdir(parents=True, exist_ok=True)
    try:
        folder.rename(place / folder.name)
    except FileNotFoundError:
        return  # the folder is shared, and another node was faster
    say(f"set {folder} aside in {place}")
