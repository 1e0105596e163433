"""The data section → the data sets that it names, by whichever of its three ways."""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from smtrain import target_paths
from smtrain.errors import Problem
from smtrain.rows import SUFFIXES, suffix_of
from smtrain.sections import Data, DataSource
from smtrain.spec import Dataset, Json, LocalFile
from smtrain.suggest import closest, did_you_mean

VERBATIM_INFO = ("REMOTE:", "ONLINE")
"""Values of `data.dataset_info` that LLaMA-Factory resolves itself, on the target."""

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", re.ASCII)
"""Names that the Hugging Face hub accepts: NAME or ORG/NAME."""

ATTRIBUTES = ("subset", "split", "folder", "num_samples")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the data section names.

    Attributes:
      datasets: in the order of the section.
      dataset_info: content of the user's own dataset_info.json.
      problems: what was wrong.
    """

    datasets: tuple[Dataset, ...] = ()
    dataset_info: bytes | None = None
    problems: tuple[Problem, ...] = ()


def find(data: Data) -> Found:
    """Returns the data sets; one whose files are not there has none, and a problem says so."""
    ways = [name for name in ("path", "sets", "dataset_info") if getattr(data, name)]
    if len(ways) > 1:
        what = f"`data.{'` and `data.'.join(ways)}` are both set; rows come from one of them."
        fix = f"Keep one of them: leave the other out, or set it to {'{}' if 'sets' in ways else 'null'}."
        return Found(problems=(Problem(key=f"data.{ways[1]}", what=what, fix=fix),))
    if data.dataset_info:
        return _from_dataset_info(data, data.dataset_info)
    sources = [(name, f"data.sets.{name}", source) for name, source in data.sets.items()] or _plain(data)
    datasets: list[Dataset] = []
    problems: list[Problem] = []
    for name, key, source in sources:
        dataset, found = _dataset(name, key, source, data)
        datasets.append(dataset)
        problems += (*_name_problems(name, key), *found)
    return Found(datasets=tuple(datasets), problems=tuple(problems))


def _plain(data: Data) -> list[tuple[str, str, DataSource]]:
    attributes = {name: getattr(data, name) for name in ATTRIBUTES}
    given = [("train", "data.path", data.path, "train"), ("eval", "data.eval_path", data.eval_path, "eval")]
    return [
        (name, key, DataSource(path=path, role=role, **attributes))  # type: ignore[arg-type]  # role is one of the two
        for name, key, path, role in given
        if path
    ]


def _name_problems(name: str, key: str) -> Iterator[Problem]:
    if not name or "," in name or name != name.strip():
        what = f"`{name}` cannot name a data set: trainers take comma-separated lists of names."
        yield Problem(key=key, what=what, fix="Use letters, digits, `_`, `-` and `.`.")


def _dataset(name: str, key: str, source: DataSource, data: Data) -> tuple[Dataset, tuple[Problem, ...]]:
    location, kind = source.path, "file"
    path_key = f"{key}.path" if key.startswith("data.sets.") else key
    files: tuple[LocalFile, ...] = ()
    problems: tuple[Problem, ...] = ()
    if location.startswith("hub:"):
        kind, location = "hub", location.removeprefix("hub:")
        problems = tuple(_hub_problems(location, key))
    elif location.startswith("s3://"):
        kind = "s3"
    elif target_paths.is_on_target(location):
        kind, problems = "target", tuple(target_paths.problems(location, path_key))
    else:
        files, problems = local_files(location, path_key)
    text = (source.format or data.format) == "text"
    columns = _given(source.columns if source.columns is not None else data.columns)
    dataset = Dataset(
        name=name,
        role=source.role,
        key=key if key.startswith("data.sets.") else "data",
        source=kind,
        location=location,
        files=files,
        format="alpaca" if text else (source.format or data.format),
        ranking=data.ranking if source.ranking is None else source.ranking,
        columns=columns or ({"prompt": "text"} if text else {}),
        tags=_given(source.tags if source.tags is not None else data.tags),
        attributes={name: value for name in ATTRIBUTES if (value := getattr(source, name)) is not None},
    )
    return dataset, problems


def _hub_problems(name: str, key: str) -> Iterator[Problem]:
    if not HUB_NAME.fullmatch(name):
        what = f"`{name}` is no name of a data set of the Hugging Face hub."
        yield Problem(key=key, what=what, fix="Write hub:ORG/NAME.")


def _given(section: object) -> dict[str, str]:
    return {name: value for name, value in asdict(section).items() if value is not None}  # type: ignore[call-overload]  # any section


def local_files(location: str, key: str) -> tuple[tuple[LocalFile, ...], tuple[Problem, ...]]:
    """Returns the files of a path, `pkg://module/file` or folder, with their digests; or why there are none."""
    try:
        return _looked_at(location, key)
    except (OSError, RuntimeError) as error:  # expanduser raises RuntimeError for ~nobody
        what = f"`{location}` cannot be read: {getattr(error, 'strerror', None) or error}."
        return (), (Problem(key=key, what=what, fix="Check the path, and the permissions of its folders."),)


def _looked_at(location: str, key: str) -> tuple[tuple[LocalFile, ...], tuple[Problem, ...]]:
    path = _packaged(location) if location.startswith("pkg://") else Path(location).expanduser()
    if path.is_dir():
        files = sorted(item for item in path.iterdir() if item.is_file() and not item.name.startswith("."))
        if not files:
            return (), (Problem(key=key, what=f"The folder `{location}` holds no files.", fix="Put rows into it."),)
        return tuple(map(_digested, files)), ()
    if path.is_file():
        return (_digested(path),), ()
    return (), (_not_there(location, path, key),)


def _packaged(location: str) -> Path:
    package, _, name = location.removeprefix("pkg://").partition("/")
    return Path(str(importlib.resources.files(package).joinpath(name)))


def _not_there(location: str, path: Path, key: str) -> Problem:
    if path.is_symlink():
        what = f"`{location}` is a link to `{path.readlink()}`, which does not exist."
        return Problem(key=key, what=what, fix="Mend the link, or name the file itself.")
    siblings = path.parent.iterdir() if path.parent.is_dir() else ()
    near = closest(path.name, [item.name for item in siblings if suffix_of(item.name) in SUFFIXES])
    scheme = re.match(r"(\w+)://", location)
    if scheme and scheme[1] == "file":
        fix = "Give the path without file://."
    elif scheme:
        fix = f"Download it first: rows come from a file, a folder, s3:// or hub:ORG/NAME, not from {scheme[1]}://."
    elif near is not None:
        fix = f"Did you mean `{path.with_name(near)}`?"
    elif HUB_NAME.fullmatch(location) and not path.suffix:
        fix = (
            f"For a data set of the Hugging Face hub write hub:{location}. Relative paths start at the current folder."
        )
    else:
        fix = "Give a file or folder, an s3:// URI, or hub:ORG/NAME. Relative paths start at the current folder."
    fix += target_paths.hint(location)
    return Problem(key=key, what=f"There is no file `{location}`.", fix=fix)


def _digested(path: Path) -> LocalFile:
    with path.open("rb") as stream:
        return LocalFile(
            path=path.absolute(),
            sha256=hashlib.file_digest(stream, "sha256").hexdigest(),
            size=path.stat().st_size,
        )


def _from_dataset_info(data: Data, reference: str) -> Found:
    if reference.startswith(VERBATIM_INFO):
        return Found(datasets=tuple(_named_remotely(data, reference)))
    path = Path(reference).expanduser()
    if path.is_dir():
        fix = f"Name the file in it: {path / 'dataset_info.json'}."
        problem = Problem(key="data.dataset_info", what=f"`{reference}` is a folder.", fix=fix)
        return Found(problems=(problem,))
    if not path.is_file():
        return Found(problems=(_not_there(reference, path, "data.dataset_info"),))
    content = path.read_bytes()
    entries, malformed = _entries(content)
    if malformed:
        fix = 'It maps the name of each data set to its description: {"NAME": {"file_name": "rows.json"}}.'
        problem = Problem(key="data.dataset_info", what=f"`{reference}` {malformed}.", fix=fix)
        return Found(problems=(problem,))
    datasets: list[Dataset] = []
    problems: list[Problem] = []
    if not data.names and not data.eval_names:
        what = "A dataset_info.json is given, but none of its data sets is chosen."
        fix = f"Set data.names=[…]; it has: {', '.join(sorted(entries))}."
        problems.append(Problem(key="data.names", what=what, fix=fix))
    for name, role, key in _chosen(data):
        if name not in entries:
            what = f"`{reference}` has no data set called `{name}`."
            problems.append(Problem(key=key, what=what, fix=did_you_mean(name, entries)))
            continue
        dataset, found = _described(name, role, key, entries[name], path.parent)
        datasets.append(dataset)
        problems += found
    return Found(datasets=tuple(datasets), dataset_info=content, problems=tuple(problems))


def _entries(content: bytes) -> tuple[dict[str, dict[str, Json]], str]:
    """Returns the entries of a dataset_info.json, or what is wrong with it."""
    try:
        entries = json.loads(content.decode())  # UTF-8, as LLaMA-Factory reads it
    except ValueError as error:
        return {}, f"is not valid JSON: {error}"
    if not isinstance(entries, dict):
        return {}, "is no JSON object"
    wrong = next((name for name, entry in entries.items() if not isinstance(entry, dict)), None)
    return ({}, f"has an entry `{wrong}` that is no JSON object") if wrong is not None else (entries, "")


def _chosen(data: Data) -> Iterator[tuple[str, str, str]]:
    yield from ((name, "train", "data.names") for name in data.names)
    yield from ((name, "eval", "data.eval_names") for name in data.eval_names)


def _named_remotely(data: Data, reference: str) -> Iterator[Dataset]:
    for name, role, key in _chosen(data):
        yield Dataset(name=name, role=role, key=key, source="hub", location=reference)


REMOTE_FIELDS: Mapping[str, str] = {
    "hf_hub_url": "hub",
    "ms_hub_url": "hub",
    "om_hub_url": "hub",
    "script_url": "script",
    "cloud_file_name": "cloud_file",
}
"""Fields of an entry that name a remote source, in LLaMA-Factory's order of precedence (data/parser.py)."""


def _described(
    name: str, role: str, key: str, entry: Mapping[str, Json], folder: Path
) -> tuple[Dataset, tuple[Problem, ...]]:
    remote = next((field for field in REMOTE_FIELDS if field in entry), None)
    files: tuple[LocalFile, ...] = ()
    problems: tuple[Problem, ...] = ()
    if remote is None and "file_name" in entry:
        files, problems = local_files(str(folder / str(entry["file_name"])), key)
    elif remote is None:
        what = f"The entry `{name}` of the dataset_info.json names neither a file nor a remote source."
        fix = f"Give it file_name or one of {', '.join(REMOTE_FIELDS)}."
        problems = (Problem(key=key, what=what, fix=fix),)
    for field in ("columns", "tags"):
        if not isinstance(entry.get(field) or {}, dict):
            what = f"`{field}` of the entry `{name}` in the dataset_info.json is no JSON object."
            problems = (*problems, Problem(key=key, what=what, fix='Write {"ROLE": "COLUMN"}.'))
            entry = {**entry, field: {}}
    dataset = Dataset(
        name=name,
        role=role,
        key=key,
        source=REMOTE_FIELDS[remote] if remote else "file",
        location=str(entry.get(remote or "file_name", "")),
        files=files,
        format=str(entry.get("formatting", "alpaca")),
        ranking=bool(entry.get("ranking", False)),
        columns=cast("dict[str, str]", entry.get("columns") or {}),
        tags=cast("dict[str, str]", entry.get("tags") or {}),
        attributes={field: entry[field] for field in ATTRIBUTES if entry.get(field) is not None},
    )
    return dataset, problems
