"""Where things lie in the working directory: the model, the rows, and what the run time writes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from smtrain.plugin import Dataset, Input, Job, ModelSource, ResolvedModel, Staging, rows, target_paths

DOCUMENT = "native.json"
OUTPUT = "output"
MERGED = "merged"
"""Where `runtime.export` writes the model with its adapter merged."""

DATA = "data"
INPUTS = "inputs"

_STAGING = {"file": Staging.BUNDLED, "s3": Staging.COPY, "target": Staging.IN_PLACE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Something that the run reads, as the run time is told of it.

    Attributes:
      paths: relative to the working directory, or names of the hub.
      input: what must be linked there; None for what the hub has, or what another one brings.
    """

    paths: tuple[str, ...]
    input: Input | None = None


def model(job: Job) -> Placed:
    """Returns where the model lies."""
    return _resolved("model", job.model)


def adapter(job: Job) -> Placed | None:
    """Returns where the adapter lies that the training goes on from."""
    return _resolved("adapter", job.adapters[0]) if job.adapters else None


def reference(path: str | None) -> Placed | None:
    """Returns where the user's reference log-probabilities lie.

    Args:
      path: as the user wrote it.
    """
    if path is None:
        return None
    place = f"{INPUTS}/reference{_suffixes(PurePosixPath(path).name)}"
    staging = Staging.COPY if path.startswith("s3://") else Staging.IN_PLACE
    return Placed(paths=(place,), input=Input(name="reference", uri=path, staging=staging, path=place))


def data(job: Job) -> tuple[tuple[Dataset, Placed], ...]:
    """Returns the data sets that the run time can read, each with where its rows lie."""
    return tuple(_placed_data(job))


def _placed_data(job: Job) -> Iterator[tuple[Dataset, Placed]]:
    folders: set[str] = set()
    known: dict[str, tuple[str, ...]] = {}
    count = 0
    for dataset in job.datasets:
        if dataset.source not in _STAGING:
            yield dataset, Placed(paths=(f"hub:{dataset.location}",))
        elif dataset.location in known:
            # Several sets may take their rows from the same place, each in its way; they are brought once.
            yield dataset, Placed(paths=known[dataset.location])
        else:
            count += 1
            placed = _rows(dataset, f"data-{count}", _free_folder(dataset.name, folders))
            known[dataset.location] = placed.paths
            yield dataset, placed


def _rows(dataset: Dataset, name: str, folder: str) -> Placed:
    if len(dataset.files) > 1:
        path, paths = folder, tuple(f"{folder}/{file.path.name}" for file in dataset.files)
    else:
        path = _file_or_folder(dataset, folder)
        paths = (path,)
    staging = _STAGING[dataset.source]
    return Placed(
        paths=paths,
        input=Input(name=name, uri=dataset.location, staging=staging, path=path, files=dataset.files),
    )


def _file_or_folder(dataset: Dataset, folder: str) -> str:
    """Returns the place of one file, which keeps its suffixes, or of what is elsewhere and may be a folder."""
    location = target_paths.path_there(dataset.location)
    name = dataset.files[0].path.name if dataset.files else PurePosixPath(location).name
    if dataset.files or (rows.suffix_of(name) in rows.SUFFIXES and not location.endswith("/")):
        suffixes = _suffixes(name)
        return f"{folder}/{_plain(name.removesuffix(suffixes))}{suffixes}"
    return folder


def _resolved(name: str, found: ResolvedModel) -> Placed:
    if found.source is ModelSource.HUB:
        return Placed(paths=(found.reference,))
    path = f"{INPUTS}/{name}"
    staging = Staging.COPY if found.source is ModelSource.S3 else Staging.IN_PLACE
    placed = Input(name=name, uri=found.reference, staging=staging, path=path, fingerprint=found.fingerprint)
    return Placed(paths=(path,), input=placed)


def _free_folder(name: str, taken: set[str]) -> str:
    plain = _plain(name)
    number, folder = 1, f"{DATA}/{plain}"
    while folder in taken:
        number += 1
        folder = f"{DATA}/{plain}-{number}"
    taken.add(folder)
    return folder


def _plain(name: str) -> str:
    """Returns a name without what a path, a store or a text file might stumble over."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", name).lstrip(".-") or "rows"


def _suffixes(name: str) -> str:
    return "".join(part for part in PurePosixPath(name).suffixes[-2:] if re.fullmatch(r"\.[A-Za-z0-9]+", part))
