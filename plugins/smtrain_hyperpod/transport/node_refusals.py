"""What a login node itself refuses, once it was reached, in words that say what to do."""

from __future__ import annotations

from collections.abc import Mapping

from smtrain.plugin import ExitCode, SmtrainError, fail
from smtrain_hyperpod.transport.way import last_line

_FULL = ("The disk is full", "Free some of it; what was copied is kept, and submitting again goes on from there.")
_FORBIDDEN = ("You may not write, or not read,", "Name a folder of yours, or have its owner let you in.")
_REASONS = {
    "ENOSPC": _FULL,
    "EDQUOT": ("Your quota is used up", _FULL[1]),
    "EACCES": _FORBIDDEN,
    "EPERM": _FORBIDDEN,
    "EROFS": ("The file system takes no writes", "Name a folder of one that does."),
    "ENOENT": ("There is nothing", "Look whether the path is right, and its file system mounted."),
    "ENOTDIR": ("A part of the path is no folder", "Look whether the path is right."),
}

_PROGRAMS = {
    "python3": "Install Python 3 there, or load it in your profile.",
    "sbatch": "Is it a login node of Slurm? Its programs must be on the PATH of a login shell there.",
}


def explained(node: str, refused: Mapping[str, str]) -> SmtrainError:
    """Returns the error for what the operating system of a login node refused.

    Args:
      node: the node's name.
      refused: as `on_node.py` tells it: the code, the path, and the system's own words.
    """
    reason, fix = _REASONS.get(refused["code"], (refused["text"], ""))
    where = f" at {refused['path']}" if refused["path"] else ""
    what = f"{node}: {reason}{where}."
    return fail(what, fix, code=ExitCode.REMOTE_REFUSED)


def lacking(node: str, program: str) -> SmtrainError:
    """Returns that a login node has no such program."""
    fix = _PROGRAMS.get(program, _PROGRAMS["sbatch"] if program in _SLURM else "")
    return fail(f"{node} has no `{program}`.", fix, code=ExitCode.REMOTE_REFUSED)


def ended(node: str, code: int, stderr: str) -> SmtrainError:
    """Returns that our program there ended before its time."""
    what = f"{node}: the program that takes files there ended with {code}: {last_line(stderr)}"
    return fail(what, "Try again; what was copied is kept.", code=ExitCode.REMOTE_REFUSED)


_SLURM = frozenset({"sbatch", "srun", "squeue", "sacct", "scancel", "scontrol", "sinfo"})
