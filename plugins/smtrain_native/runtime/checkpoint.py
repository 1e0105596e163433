"""Checkpoints: complete or absent.

A checkpoint is written into a folder of another name, which becomes `checkpoint-N` once every process has written its
part; `complete.json` is the last file in it. What was interrupted is removed when the next one is written.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError

from smtrain_native.runtime.ending import UserError
from smtrain_native.runtime.engine import Engine
from smtrain_native.runtime.processes import Processes
from smtrain_native.runtime.settings import Settings

COMPLETE = "complete.json"
PREFIX = "checkpoint-"
_UNFINISHED = "unfinished-"
_FORMAT = 1


class CheckpointError(UserError):
    """A checkpoint that cannot be written or gone on from; the message is for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far a training has come.

    Attributes:
      step: optimizer steps done.
      epoch: passes over the data done.
      step_of_epoch: steps done of the pass that is under way.
    """

    step: int = 0
    epoch: int = 0
    step_of_epoch: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """What a checkpoint says beside weights and optimizer.

    Attributes:
      position: of the training.
      untold: state of the steps that no line of metrics has told yet; None where there is none.
    """

    position: Position
    untold: Mapping[str, object] | None = None


def save(
    engine: Engine,
    position: Position,
    settings: Settings,
    processes: Processes,
    *,
    untold: Mapping[str, object] | None = None,
) -> Path:
    """Writes a checkpoint and removes the oldest ones.

    Args:
      engine: of the training.
      position: of the training.
      settings: of the training.
      processes: all of them, each of which calls this.
      untold: see `Resumed`; of the first process.

    Raises:
      CheckpointError: it could not be written, on any of the processes; none is left half-written.
    """
    output = Path(settings.output_dir)
    unfinished, finished = (output / f"{start}{position.step}" for start in (_UNFINISHED, PREFIX))
    failed = _part(engine, unfinished, processes)
    if processes.any(flag=failed is not None):
        if processes.is_writer:
            shutil.rmtree(unfinished, ignore_errors=True)
        why = failed or "another process could not write its part"
        message = f"{finished} could not be written: {why}. Free some space, or set trainer.checkpoints.keep lower."
        raise CheckpointError(message)
    if processes.is_writer:
        told = {"format": _FORMAT, "world_size": processes.world_size, **asdict(position), "untold": untold}
        (unfinished / COMPLETE).write_text(json.dumps(told) + "\n", encoding="utf-8")
        _synced(unfinished)
        if finished.exists():
            shutil.rmtree(finished)
        unfinished.rename(finished)
        _prune(output, settings.checkpoints.keep)
    processes.wait()
    return finished


def _part(engine: Engine, folder: Path, processes: Processes) -> str | None:
    """Writes what this process has to write; returns why it could not."""
    why = None
    if processes.is_writer:
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        except OSError as error:
            why = str(error)
    processes.wait()
    try:
        # Even where the folder failed: with ZeRO, saving is a matter of all.
        engine.save(folder)
        torch.save(torch.get_rng_state(), folder / f"random-{processes.rank}.pt")
    except (OSError, RuntimeError, SafetensorError) as error:  # torch's writer raises RuntimeError for a full disk
        why = why or str(error)
    return why


def _synced(folder: Path) -> None:
    """Has the disk hold all of it before it gets its name."""
    for path in [*folder.rglob("*"), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _prune(output: Path, keep: int) -> None:
    for left in output.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(left, ignore_errors=True)
    complete = sorted(output.glob(f"{PREFIX}*/{COMPLETE}"), key=lambda path: int(path.parent.name[len(PREFIX) :]))
    for old in complete[: -max(keep, 1)]:
        # What is being removed is no checkpoint any longer.
        old.unlink()
        shutil.rmtree(old.parent, ignore_errors=True)


def load(engine: Engine, folder: Path, settings: Settings, processes: Processes) -> Resumed:
    """Goes on from a checkpoint.

    Raises:
      CheckpointError: it is incomplete, or of a training that was spread otherwise.
    """
    try:
        told = json.loads((folder / COMPLETE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        message = f"{folder} is no complete checkpoint: {error}. Choose another, or start afresh with resume=never."
        raise CheckpointError(message) from error
    if settings.parallel.kind == "deepspeed" and told["world_size"] != processes.world_size:
        message = (
            f"{folder} was written by {told['world_size']} processes, and ZeRO's shards are theirs; "
            f"this training has {processes.world_size}. Use as many, or start afresh with resume=never."
        )
        raise CheckpointError(message)
    engine.load(folder)
    random = folder / f"random-{processes.rank}.pt"
    if random.is_file():
        torch.set_rng_state(torch.load(random, weights_only=True))
    position = Position(step=told["step"], epoch=told["epoch"], step_of_epoch=told["step_of_epoch"])
    return Resumed(position=position, untold=told["untold"])
