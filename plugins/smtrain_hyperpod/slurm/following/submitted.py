"""What a bundle says of its job: where its login node is, and where on the cluster the run lies."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec

from smtrain.plugin import ExitCode, Json, Receipt, fail
from smtrain_hyperpod.slurm.contents import TARGET


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptOutput:
    """An output, as the program has it: `smtrain.plugin.Output`."""

    name: str
    glob: str
    complete: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LaterJob:
    """A part of the program that is a job of its own, after the first; see `Target`."""

    name: str
    nodes: int
    partition: str | None
    time: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What target.json says.

    Attributes:
      login: host of the user's ssh_config; None is this machine.
      store: folder on the cluster that keeps files by their digests.
      run: the run's folder there.
      output: folder of the outputs there; None when they go to S3.
      output_uri: s3:// URI of the run's own folder; "" when they stay there.
      region: of the bucket; "" is not said.
      nodes: how many.
      gpus: that each is asked for.
      partition: None is the default one.
      time: limit, as Slurm spells it; None is the partition's.
      array_limit: runs of an array that go at a time; None is all.
      later: jobs that wait for the first, in their order.
      outputs: of the program.
      progress: path of the program's progress file in its working directory; "" when it writes none.
      run_id: id of the run.
    """

    login: str | None
    store: str
    run: str
    output: str | None
    output_uri: str
    region: str
    nodes: int
    gpus: int
    partition: str | None
    time: str | None
    outputs: tuple[KeptOutput, ...]
    progress: str
    run_id: str
    array_limit: int | None = None
    later: tuple[LaterJob, ...] = ()


def parsed(document: Json) -> Target:
    """Returns what a document of a bundle says.

    Raises:
      SmtrainError: it is no such document.
    """
    try:
        return msgspec.convert(document, Target)
    except msgspec.ValidationError as error:
        what = f"The bundle's {TARGET} is not of this version of smtrain: {error}."
        raise fail(what, "Compile it again.", code=ExitCode.MISSING_HERE) from error


def read(run_dir: Path, receipt: Receipt) -> Target:
    """Returns what the bundle in a run's folder says.

    Raises:
      SmtrainError: the bundle is damaged.
    """
    path = run_dir / "bundle" / TARGET
    try:
        document = cast("Json", json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        what = f"`{path}` no longer says where the job is: {error}."
        fix = f"The job is {receipt.job or receipt.run_id}; look after it with squeue and scancel."
        raise fail(what, fix, code=ExitCode.MISSING_HERE) from error
    return parsed(document)
