"""The data directory of the run: dataset_info.json, and the files that it names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import cast

from smtrain.plugin import Dataset, Input, Job, Json, Problem, Staging, TextFile, columns
from smtrain_llamafactory.places import is_relative

FILE_NAME = "dataset_info.json"
"""Name that LLaMA-Factory looks for in `dataset_dir` (extras/constants.py, DATA_CONFIG)."""

RESOLVED_ON_TARGET = ("REMOTE:", "ONLINE")
"""Values of `dataset_dir` with which LLaMA-Factory looks no dataset_info.json up in a folder (data/parser.py)."""

_AS_FILES = ("file", "s3", "target")
"""Sources whose rows are files in the data directory when LLaMA-Factory starts."""

_STAGING = {"file": Staging.BUNDLED, "s3": Staging.COPY, "target": Staging.IN_PLACE}
_URL_FIELDS = {"hub": "hf_hub_url", "script": "script_url", "cloud_file": "cloud_file_name"}
_OF_FILES = re.compile(r"train(\[.*\])?")
_SUFFIXES = frozenset({".arrow", ".csv", ".json", ".jsonl", ".parquet", ".txt"})
_NOT_READ = frozenset({".bz2", ".gz", ".pt", ".tar", ".tgz", ".xz", ".zip", ".zst"})


def is_remote(job: Job) -> bool:
    """Whether the data sets are looked up on the target, so that the run has no dataset_info.json of its own."""
    return (job.run.data.dataset_info or "").startswith(RESOLVED_ON_TARGET)


def names(job: Job, role: str) -> tuple[str, ...]:
    """Returns the names of the data sets of one role, in the user's order."""
    return tuple(dataset.name for dataset in job.datasets if dataset.role == role)


def files(job: Job, data_dir: str) -> tuple[TextFile, ...]:
    """Returns the dataset_info.json: the user's own as it is, or the one that describes the data sets."""
    if not job.datasets or is_remote(job):
        return ()
    if job.dataset_info is not None:
        text = job.dataset_info.decode()
    else:
        entries = {dataset.name: _entry(dataset, name) for dataset, name in _with_file_names(job)}
        text = json.dumps(entries, indent=2, ensure_ascii=False) + "\n"
    return (TextFile(path=f"{data_dir}/{FILE_NAME}", text=text),)


def inputs(job: Job, data_dir: str) -> tuple[Input, ...]:
    """Returns the files of the data sets, each at the place that its entry names."""
    placed: dict[str, Input] = {}
    for dataset, name in _with_file_names(job):
        if name is None:
            continue
        path = str(PurePosixPath(data_dir) / name)
        if len(dataset.files) == 1 and PurePosixPath(name).suffix not in _SUFFIXES:
            path = f"{path}/{dataset.files[0].path.name}"  # a folder of one file: the folder must stay a folder
        if path not in placed:
            placed[path] = Input(
                name=f"data-{len(placed) + 1}",
                uri=dataset.location,
                staging=_STAGING[dataset.source],
                path=path,
                files=dataset.files,
            )
    return tuple(placed.values())


def check(job: Job) -> Iterator[Problem]:
    """Yields what LLaMA-Factory could not load, or what cannot be carried to another machine."""
    for dataset in job.datasets:
        yield from _hub_settings(dataset)
        yield from _unreadable(dataset)
    if job.dataset_info is None:
        return
    for dataset in job.datasets:
        if dataset.source == "file" and not is_relative(dataset.location):
            what = f"The file_name of `{dataset.name}`, `{dataset.location}`, leaves the data directory of the run."
            fix = f"Use a path inside the folder of {FILE_NAME}, or describe the set under data.sets."
            yield Problem(key=dataset.key, what=what, fix=fix)


def _hub_settings(dataset: Dataset) -> Iterator[Problem]:
    """data/loader.py: _load_single_dataset hands the split of a file on to load_dataset, and drops the rest."""
    if dataset.source not in _AS_FILES:
        return
    own = "" if dataset.key in ("data.names", "data.eval_names") else ".{}"  # the file has no keys of ours
    split = dataset.attributes.get("split")
    if split is not None and not _OF_FILES.fullmatch(str(split)):
        what = f"The split of `{dataset.name}` is `{split}`, but rows of files have one split, `train`."
        fix = "Leave it out, or take a part of it: train[:1000]."
        yield Problem(key=f"{dataset.key}{own.format('split')}", what=what, fix=fix)
    for name in ("subset", "folder"):
        if dataset.attributes.get(name) is not None:
            what = f"`{dataset.name}` has a {name}, which only data sets of a hub have."
            yield Problem(key=f"{dataset.key}{own.format(name)}", what=what, fix="Leave it out.")


def _unreadable(dataset: Dataset) -> Iterator[Problem]:
    """data/loader.py: _load_single_dataset knows a file by its suffix (FILEEXT2TYPE), and unpacks none."""
    reads = f"and LLaMA-Factory reads {', '.join(sorted(_SUFFIXES))}."
    unread = next((file.path for file in dataset.files if file.path.suffix not in _SUFFIXES), None)
    if unread is not None:
        what = f"`{unread.name}` is a {unread.suffix} file, {reads}"
        yield Problem(
            key=dataset.key, what=what, fix="Unpack or convert it, or choose trainer=native_sft or native_dpo."
        )
    suffix = PurePosixPath(dataset.location).suffix
    if dataset.source in ("s3", "target") and suffix in _NOT_READ and not dataset.location.endswith("/"):
        what = f"`{dataset.location}` is a {suffix} file, {reads}"
        own = "eval_path" if dataset.key == "data" and dataset.role == "eval" else "path"
        yield Problem(
            key=f"{dataset.key}.{own}",
            what=what,
            fix="Unpack it, or convert it; a folder of this name ends in a slash.",
        )


def _with_file_names(job: Job) -> Iterator[tuple[Dataset, str | None]]:
    """Yields each data set with the path of its rows inside the data directory, None for a source on the network."""
    taken: set[str] = {FILE_NAME}
    remote: dict[str, str] = {}
    for dataset in job.datasets:
        if dataset.source not in _AS_FILES:
            yield dataset, None
        elif job.dataset_info is not None:
            yield dataset, dataset.location
        else:
            # Several sets may take their rows from the same place, each in its way; it is copied once.
            name = remote.get(dataset.location) or _free_name(dataset, taken)
            taken.add(name)
            if dataset.source != "file":
                remote[dataset.location] = name
            yield dataset, name


def _free_name(dataset: Dataset, taken: set[str]) -> str:
    stem = re.sub(r"[^A-Za-z0-9._-]", "-", dataset.name).lstrip(".-") or "rows"
    suffix = _suffix(dataset)
    number = 1
    name = f"{stem}{suffix}"
    while name in taken:
        number += 1
        name = f"{stem}-{number}{suffix}"
    return name


def _suffix(dataset: Dataset) -> str:
    if len(dataset.files) > 1:
        return ""
    if not dataset.files and dataset.location.endswith("/"):
        return ""  # of a folder, whatever its name
    suffix = PurePosixPath(dataset.files[0].path.name if dataset.files else dataset.location).suffix
    return suffix if suffix in _SUFFIXES else ""


def _entry(dataset: Dataset, file_name: str | None) -> dict[str, Json]:
    where: dict[str, Json] = (
        {"file_name": file_name} if file_name is not None else {_URL_FIELDS[dataset.source]: dataset.location}
    )
    chat = dataset.format != "alpaca"
    return {
        **where,
        "formatting": dataset.format,
        **({"ranking": True} if dataset.ranking else {}),
        "columns": cast("Json", dict(columns.effective_columns(dataset))),
        **({"tags": cast("Json", dict(columns.effective_tags(dataset)))} if chat else {}),
        **_attributes(dataset.attributes),
    }


def _attributes(attributes: Mapping[str, Json]) -> Mapping[str, Json]:
    return {name: value for name, value in attributes.items() if value is not None}
