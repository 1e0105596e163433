"""agent.json: what the agent on the target is told; `smtrain.agent.plan` reads it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from smtrain import shell
from smtrain.spec import Input, Json, Output, OutputKind, Package, Program, Progress, Staging

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallOptions:
    """How what the image lacks comes there.

    Attributes:
      enabled: whether anything is installed at all; otherwise what is lacking is an error.
      requirements: a requirements file, relative to agent.json; "" for none.
      index_url: a package index of one's own; "" for pip's own choice.
      wheels_dir: folder of wheels, relative to agent.json or naming `${VARIABLES}`; then no index is asked.
    """

    enabled: bool = True
    requirements: str = ""
    index_url: str = ""
    wheels_dir: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadOptions:
    """What is kept in the store.

    Attributes:
      interval_s: seconds between two looks at what is new.
      checkpoints: whether checkpoints are.
      keep_checkpoints: how many of each output; None keeps all.
      model: whether outputs that hold the model are.
      model_dir: outputs to be copied into the platform's own model folder, SMTRAIN_PLATFORM_MODEL_DIR.
    """

    interval_s: float = 10.0
    checkpoints: bool = True
    keep_checkpoints: int | None = 2
    model: bool = True
    model_dir: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlOptions:
    """Times of the channel between the nodes, in seconds.

    Attributes:
      heartbeat_s: between two signs of life.
      lost_s: of silence, after which a node is lost.
      connect_s: that all nodes have to come, from the start of the first.
      settle_s: after a first failure, in which another node's may turn out to be its cause.
    """

    heartbeat_s: float = 5.0
    lost_s: float = 30.0
    connect_s: float = 900.0
    settle_s: float = 3.0


def document(
    program: Program,
    *,
    secrets: Mapping[str, str],
    install: InstallOptions,
    upload: UploadOptions,
    control: ControlOptions,
    files: Iterable[str] = (),
) -> bytes:
    """Returns the content of agent.json.

    Args:
      program: its inputs to be copied, outputs, packages and progress go in.
      secrets: variable → `secretsmanager:ID`, `secretsmanager:ID#KEY`, `ssm:/NAME` or `env:NAME`.
      install: how what is lacking comes there.
      upload: what is kept in the store.
      control: times of the channel between the nodes.
      files: names of inputs that are one file; of the others, what is found decides.
    """
    single = frozenset(files)
    content: Json = {
        "format": FORMAT,
        "inputs": [_input(item, single) for item in program.inputs if item.staging is Staging.COPY],
        "outputs": [_output(item, upload) for item in program.outputs],
        "install": {
            "packages": list(map(_package, program.needs.packages)),
            "requirements": install.requirements,
            "index_url": install.index_url,
            "wheels_dir": install.wheels_dir,
            "mode": "auto" if install.enabled else "never",
        },
        "secrets": dict(secrets),
        "progress": None if program.progress is None else _progress(program.progress),
        "upload": {
            "interval_s": upload.interval_s,
            "checkpoints": upload.checkpoints,
            "model": upload.model,
            "model_dir": list(upload.model_dir),
        },
        "control": {
            "heartbeat_s": control.heartbeat_s,
            "lost_s": control.lost_s,
            "connect_s": control.connect_s,
            "settle_s": control.settle_s,
        },
    }
    return (json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _input(item: Input, single: frozenset[str]) -> dict[str, Json]:
    return {
        "name": item.name,
        "variable": shell.input_variable(item.name),
        "uri": item.uri,
        "file": True if item.name in single else None,
    }


def _output(item: Output, upload: UploadOptions) -> dict[str, Json]:
    return {
        "name": item.name,
        "model": OutputKind.MODEL in item.kinds,
        "checkpoint_glob": item.checkpoint_glob,
        "checkpoint_complete": item.checkpoint_complete,
        "keep": upload.keep_checkpoints,
    }


def _package(package: Package) -> dict[str, Json]:
    return {"name": package.name, "specifier": package.specifier}


def _progress(progress: Progress) -> dict[str, Json]:
    return {"path": progress.path, "step": progress.step}
