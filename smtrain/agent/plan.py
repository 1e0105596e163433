"""agent.json: what the compiler tells the agent; `smtrain.agent_document` writes it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from smtrain.agent.ending import AgentCode, AgentError

FORMAT = 1

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedInput:
    """Something to be staged.

    Attributes:
      name: unique within the program.
      variable: environment variable that receives its path.
      uri: where it is.
      file: whether it is one file; None leaves that to what is found.
    """

    name: str
    variable: str
    uri: str
    file: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedOutput:
    """Something that the program writes, below SMTRAIN_OUTPUT_DIR under its name.

    Attributes:
      name: unique within the program.
      model: whether it holds the model.
      checkpoint_glob: names of checkpoint folders inside it; "" when it holds none.
      checkpoint_complete: a file whose presence says that a checkpoint folder is whole.
      keep: checkpoints to keep in the store; None keeps all.
    """

    name: str
    model: bool
    checkpoint_glob: str
    checkpoint_complete: str
    keep: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Install:
    """What the interpreter must have.

    Attributes:
      packages: (name, specifier) of distributions.
      requirements: a requirements file; "" for none.
      index_url: a package index of one's own; "" for pip's own choice.
      wheels_dir: folder of wheels, in which case no index is asked; "" for none.
      allowed: whether to install what is lacking; otherwise that is an error.
    """

    packages: tuple[tuple[str, str], ...]
    requirements: str
    index_url: str
    wheels_dir: str
    allowed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The program's progress file, relative to its working directory, and the field with the step."""

    path: str
    step: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """What goes to the store.

    Attributes:
      interval_s: seconds between two looks at what is new.
      checkpoints: whether checkpoints do.
      model: whether outputs that hold the model do.
      model_dir: outputs to be copied into SMTRAIN_PLATFORM_MODEL_DIR.
    """

    interval_s: float
    checkpoints: bool
    model: bool
    model_dir: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """Times of the channel between the nodes, in seconds.

    Attributes:
      heartbeat_s: between two signs of life.
      lost_s: of silence, after which a node is lost.
      connect_s: that all nodes have to come.
      settle_s: after a first failure, in which others may turn out to be its cause.
    """

    heartbeat_s: float
    lost_s: float
    connect_s: float
    settle_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do around the program; `document` is the file itself."""

    inputs: tuple[PlannedInput, ...]
    outputs: tuple[PlannedOutput, ...]
    install: Install
    secrets: Mapping[str, str] = field(repr=False)
    progress: Progress | None
    upload: Upload
    control: Control
    document: bytes = field(repr=False)


def load(path: Path, environment: Mapping[str, str]) -> Plan:
    """Returns the plan of a file. Paths in it are relative to its folder, and may name `${VARIABLES}`.

    Raises:
      AgentError: the file is not there, is broken, or has another format.
    """
    try:
        content = path.read_bytes()
        document = json.loads(content)
        found = document.get("format")
        if found != FORMAT:
            reason = (
                f"{path} has format {found!r}, and this agent reads format {FORMAT}: the two are of different bundles"
            )
            raise AgentError(AgentCode.BAD_PLAN, reason)
        return _plan(document, path.parent, environment, content)
    except OSError as error:
        raise AgentError(AgentCode.BAD_PLAN, f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AgentError(AgentCode.BAD_PLAN, f"{path} is no plan: {type(error).__name__}: {error}") from error


def _plan(document: dict[str, Json], folder: Path, environment: Mapping[str, str], content: bytes) -> Plan:
    progress = document["progress"]
    return Plan(
        inputs=tuple(_input(row, environment) for row in _rows(document["inputs"])),
        outputs=tuple(map(_output, _rows(document["outputs"]))),
        install=_install(_row(document["install"]), folder, environment),
        secrets={name: _text(reference) for name, reference in _row(document["secrets"]).items()},
        progress=None if progress is None else _progress(_row(progress)),
        upload=_upload(_row(document["upload"])),
        control=_control(_row(document["control"])),
        document=content,
    )


def _input(row: dict[str, Json], environment: Mapping[str, str]) -> PlannedInput:
    file = row["file"]
    return PlannedInput(
        name=_text(row["name"]),
        variable=_text(row["variable"]),
        uri=_expanded(_text(row["uri"]), environment),
        file=None if file is None else bool(file),
    )


def _output(row: dict[str, Json]) -> PlannedOutput:
    keep = row["keep"]
    return PlannedOutput(
        name=_text(row["name"]),
        model=bool(row["model"]),
        checkpoint_glob=_text(row["checkpoint_glob"]),
        checkpoint_complete=_text(row["checkpoint_complete"]),
        keep=None if keep is None else int(_number(keep)),
    )


def _install(row: dict[str, Json], folder: Path, environment: Mapping[str, str]) -> Install:
    mode = row["mode"]
    if mode not in {"auto", "never"}:
        message = f"install.mode is {mode!r}"
        raise ValueError(message)
    return Install(
        packages=tuple((_text(package["name"]), _text(package["specifier"])) for package in _rows(row["packages"])),
        requirements=_place(_text(row["requirements"]), folder, environment),
        index_url=_text(row["index_url"]),
        wheels_dir=_place(_text(row["wheels_dir"]), folder, environment),
        allowed=mode == "auto",
    )


def _progress(row: dict[str, Json]) -> Progress:
    return Progress(path=_text(row["path"]), step=_text(row["step"]))


def _upload(row: dict[str, Json]) -> Upload:
    names = row["model_dir"]
    if not isinstance(names, list):
        raise TypeError(names)
    return Upload(
        interval_s=_number(row["interval_s"]),
        checkpoints=bool(row["checkpoints"]),
        model=bool(row["model"]),
        model_dir=tuple(map(_text, names)),
    )


def _control(row: dict[str, Json]) -> Control:
    return Control(**{name: _number(row[name]) for name in ("heartbeat_s", "lost_s", "connect_s", "settle_s")})


def _place(text: str, folder: Path, environment: Mapping[str, str]) -> str:
    return os.fspath(folder / _expanded(text, environment)) if text else ""


def _expanded(text: str, environment: Mapping[str, str]) -> str:
    for name, value in environment.items():
        text = text.replace(f"${{{name}}}", value)
    return text


def _rows(value: Json) -> list[dict[str, Json]]:
    if not isinstance(value, list):
        raise TypeError(value)
    return list(map(_row, value))


def _row(value: Json) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise TypeError(value)
    return value


def _text(value: Json) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _number(value: Json) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(value)
    return value
