"""Where things lie in the working directory: the model, adapters, data, and what LLaMA-Factory writes.

The YAML holds no path of any machine. An input is linked at `inputs/…`, unless the user spelled an argument as a
relative path: then it is linked at that very path, and the spelling stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from smtrain.plugin import Input, Job, ModelSource, Problem, Staging, launch_script

DATA_DIR = "data"
"""LLaMA-Factory's own default of `dataset_dir`."""

OUTPUT_DIR = "output"

_TARGET = f"{ModelSource.TARGET.value}:"
_ELSEWHERE: Mapping[str, ModelSource] = {"s3://": ModelSource.S3, _TARGET: ModelSource.TARGET}
"""Beginning of a reference to what this machine has not → what it is."""

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", re.ASCII)
_FILE_SUFFIXES = frozenset({".json", ".jsonl", ".csv", ".parquet", ".txt", ".yaml", ".yml"})

MODEL_ARGUMENTS = ("ref_model", "ref_model_adapters", "reward_model", "reward_model_adapters")
"""Arguments other than the model's own that name a repository or a folder."""

PATH_ARGUMENTS = ("media_dir", "new_special_tokens_config", "hyper_parallel_args", "kt_weight_path")
"""Arguments that name a file or folder, and never a repository."""

FILE_OR_HUB_ARGUMENTS = ("export_quantization_dataset",)
"""Arguments that name a file or a hub data set."""

_REFERENCES = (*MODEL_ARGUMENTS, *PATH_ARGUMENTS, *FILE_OR_HUB_ARGUMENTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A reference of the user, and what LLaMA-Factory is told.

    Attributes:
      spelled: the value for the YAML: a hub repository, or a path in the working directory.
      input: what must be linked there; None for a repository.
    """

    spelled: str
    input: Input | None = None


def is_relative(path: object) -> bool:
    """Whether this is a path that stays inside the working directory."""
    return (
        isinstance(path, str)
        and bool(path)
        and not path.startswith(("/", "~", *_ELSEWHERE))
        and ".." not in PurePosixPath(path).parts
        and PurePosixPath(path) != PurePosixPath(".")
    )


def normal(path: str) -> str:
    """Returns a relative path without `./` and doubled or trailing slashes."""
    return str(PurePosixPath(path))


def folder_like(reference: str) -> bool:
    """Whether a reference can only be a folder, by its spelling: it is no repository's NAME or ORG/NAME."""
    return not _HUB_NAME.fullmatch(reference)


def source_of(path: str) -> ModelSource:
    """Returns what a reference is that is known to be no repository."""
    return next((source for start, source in _ELSEWHERE.items() if path.startswith(start)), ModelSource.FOLDER)


def check(args: Mapping[str, object]) -> Iterator[Problem]:
    """Yields the arguments whose path on the target is none."""
    for argument in _REFERENCES:
        value = args.get(argument)
        if isinstance(value, str) and source_of(value) is ModelSource.TARGET:
            yield from launch_script.target_path_problems(value, f"trainer.args.{argument}")


def place(name: str, reference: str, source: ModelSource, *, literal: object = None, fingerprint: str = "") -> Placed:
    """Returns where a model or adapter lies.

    Args:
      name: of the input.
      reference: as the user wrote it.
      source: what it is.
      literal: the user's own spelling of the argument; a relative path is kept.
      fingerprint: of a folder's content.
    """
    if source is ModelSource.HUB:
        return Placed(spelled=reference)
    spelled = str(literal) if is_relative(literal) else f"inputs/{name}"
    staging = Staging.COPY if source is ModelSource.S3 else Staging.IN_PLACE
    placed = Input(name=name, uri=reference, staging=staging, path=normal(spelled), fingerprint=fingerprint)
    return Placed(spelled=spelled, input=placed)


def same_place(literal: object, reference: str) -> object:
    """Returns the user's own relative path if the reference ends in it, so that it names where that is linked.

    Args:
      literal: the argument as the user wrote it; relative to the working directory.
      reference: the model or adapter; relative to the folder in which smtrain was started.
    """
    if not is_relative(literal):
        return reference
    tail = PurePosixPath(str(literal)).parts
    return literal if PurePosixPath(reference).parts[-len(tail) :] == tail else reference


def model(job: Job, args: Mapping[str, object]) -> Placed:
    """Returns where the model lies."""
    found, literal = job.model, args.get("model_name_or_path")
    return place("model", found.reference, found.source, literal=literal, fingerprint=found.fingerprint)


def adapters(job: Job, args: Mapping[str, object]) -> tuple[Placed, ...]:
    """Returns where the adapters lie that the training starts from."""
    literals: tuple[str | None, ...] = split(args.get("adapter_name_or_path"))
    count = len(job.adapters)
    if len(literals) != count:
        literals = (None,) * count
    names = ["adapter"] if count == 1 else [f"adapter-{number}" for number in range(1, count + 1)]
    return tuple(
        place(name, found.reference, found.source, literal=literal, fingerprint=found.fingerprint)
        for name, found, literal in zip(names, job.adapters, literals, strict=True)
    )


def others(args: Mapping[str, object]) -> Iterator[tuple[str, Placed]]:
    """Yields the other arguments that name files or folders of this machine, and where those lie."""
    for argument in _REFERENCES:
        value = args.get(argument)
        if isinstance(value, str) and value and _names_a_path(argument, value):
            yield argument, place(argument.replace("_", "-"), value, source_of(value), literal=value)


def output_dir(args: Mapping[str, object]) -> str:
    """Returns the folder of the results, as the YAML spells it."""
    value = args.get("output_dir")
    return str(value) if is_relative(value) else OUTPUT_DIR


def data_dir(job: Job, args: Mapping[str, object]) -> str:
    """Returns the folder of the data, as the YAML spells it: the user's, where it is that of the dataset_info.json."""
    literal, own = args.get("dataset_dir"), job.run.data.dataset_info
    if own is None or not is_relative(literal):
        return DATA_DIR
    folder = str(PurePosixPath(own).parent)
    return str(literal) if same_place(literal, folder) == literal else DATA_DIR


def split(value: object) -> tuple[str, ...]:
    """Returns the items of a comma-separated list, as LLaMA-Factory splits it, or of a list."""
    if isinstance(value, str):
        return tuple(item.strip() for item in value.split(","))
    return tuple(map(str, value)) if isinstance(value, list | tuple) else ()


def overlap(first: str, second: str) -> bool:
    """Whether one path is the other, or lies inside it."""
    one, two = PurePosixPath(first).parts, PurePosixPath(second).parts
    shared = min(len(one), len(two))
    return one[:shared] == two[:shared]


def _names_a_path(argument: str, value: str) -> bool:
    if argument in PATH_ARGUMENTS or value.startswith((*_ELSEWHERE, "/", "~", "./")):
        return True
    return folder_like(value) or (argument in FILE_OR_HUB_ARGUMENTS and PurePosixPath(value).suffix in _FILE_SUFFIXES)
