"""The scripts that each new node runs: AWS's base configuration, ours, and the user's, laid over one another."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from smtrain.plugin import BundleFile, ContentSet, Problem, shell, source_files
from smtrain_hyperpod.cluster import mounts, topology, users
from smtrain_hyperpod.cluster.options import ClusterOptions

FOLDER = "lifecycle"
"""In the bundle."""

ENTRY = "smtrain_on_create.sh"
"""Runs the script that the user names, and then ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scripts:
    """The lifecycle scripts of a cluster.

    Attributes:
      files: of the bundle, all in `FOLDER`.
      entry: the one that a new node runs; "" when there are none.
      has_user_entry: whether the script that `lifecycle.on_create` names is among them.
      problems: what is wrong with the folders they come from.
    """

    files: tuple[BundleFile, ...]
    entry: str
    has_user_entry: bool
    problems: tuple[Problem, ...]

    @property
    def names(self) -> frozenset[str]:
        """Their paths, as a node sees them."""
        return frozenset(file.path.removeprefix(f"{FOLDER}/") for file in self.files)

    def content(self) -> ContentSet:
        """Returns the set of them that is uploaded."""
        return ContentSet(channel=FOLDER, folder=FOLDER, files=self.files)

    def uri(self, cluster: ClusterOptions) -> str:
        """Returns where nodes find them, without a slash at the end; "" when there are none, or no place for them."""
        store = cluster.lifecycle.store
        return self.content().uri(store.rstrip("/")).rstrip("/") if store and self.files else ""


def scripts(cluster: ClusterOptions) -> Scripts:
    """Returns the lifecycle scripts; the user's lie over ours, and ours over AWS's."""
    base, problems = _folder(cluster.lifecycle.base, "cluster.lifecycle.base")
    overlay, more = _folder(cluster.lifecycle.overlay, "cluster.lifecycle.overlay")
    # AWS's folder may hold an example of either; ours say what this cluster is.
    base = tuple(file for file in base if _name(file) not in (topology.PARAMETERS, users.SHARED_USERS))
    wanted = cluster.lifecycle.on_create
    found = any(_name(file) == wanted for file in (*base, *overlay))
    steps = tuple(_steps(cluster, has_base=bool(base)))
    ours = tuple(_ours(cluster, wanted if found else "", steps))
    merged = {file.path: file for file in (*base, *ours, *overlay)}
    entry = wanted if found and not steps else ENTRY if ours else ""
    return Scripts(
        files=tuple(merged[path] for path in sorted(merged)),
        entry=entry,
        has_user_entry=found,
        problems=(*problems, *more),
    )


def _folder(folder: str | None, key: str) -> tuple[tuple[BundleFile, ...], tuple[Problem, ...]]:
    if folder is None:
        return (), ()
    if not Path(folder).is_dir():
        what = f"`{folder}` is {'not a folder' if Path(folder).exists() else 'not there'}."
        fix = "Name the folder of the scripts; relative paths start at the current folder."
        return (), (Problem(key=key, what=what, fix=fix),)
    files, problems = source_files.source_files(Path(folder), prefix=FOLDER)
    return files, tuple(replace(problem, key=key) for problem in problems)


def _name(file: BundleFile) -> str:
    return file.path.removeprefix(f"{FOLDER}/")


def _steps(cluster: ClusterOptions, *, has_base: bool) -> Iterator[str]:
    """Yields the scripts of ours that a new node runs after the user's."""
    if cluster.users and not has_base:  # AWS's base configuration reads shared_users.txt itself
        yield users.SCRIPT
    if cluster.mounts:
        yield mounts.SCRIPT


def _ours(cluster: ClusterOptions, wanted: str, steps: Iterable[str]) -> Iterator[BundleFile]:
    if topology.has_file(cluster):
        yield _text(topology.PARAMETERS, json.dumps(topology.parameters(cluster), indent=2) + "\n")
    if cluster.users:
        yield _text(users.SHARED_USERS, users.shared_users(cluster))
        yield _text(users.SCRIPT, users.script(cluster), executable=True)
    if cluster.mounts:
        yield _text(mounts.SCRIPT, mounts.script(cluster), executable=True)
    if steps:
        yield _text(ENTRY, _entry((*([wanted] if wanted else []), *steps)), executable=True)


def _text(name: str, text: str, *, executable: bool = False) -> BundleFile:
    return BundleFile(path=f"{FOLDER}/{name}", content=text.encode(), executable=executable)


def _entry(steps: Iterable[str]) -> str:
    lines = (f"run {shell.quote(f'./{step}')}\n" for step in steps)
    return f"{_ENTRY_HEAD}{''.join(lines)}"


_ENTRY_HEAD = """\
#!/usr/bin/env bash
# What a new node runs; written by smtrain.
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")"

run() {  # SCRIPT
  printf 'smtrain: %s\\n' "$1"
  bash "$1"
}

"""
