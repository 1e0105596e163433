"""What a program reads, laid out in a temporary folder of this machine as its target would have it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from smtrain.plugin import ExitCode, Input, Job, Problem, Program, SmtrainError, Staging, fail, suggest, target_paths
from smtrain_native import places


@contextlib.contextmanager
def laid_out(job: Job, program: Program, wanted: Collection[str], stand_ins: Mapping[str, Path]) -> Iterator[Path]:
    """Gives the folder, which is gone afterwards: the program's files, its library, and links to inputs.

    Args:
      job: the program's job.
      program: the program.
      wanted: paths, relative to the working directory, whose inputs are linked; the others are left out.
      stand_ins: name of an input → what is linked in its place.

    Raises:
      SmtrainError: an input is not on this machine, or a stand-in is for none.
    """
    inputs = [item for item in program.inputs if any(f"{path}/".startswith(f"{item.path}/") for path in wanted)]
    keys = _keys(job)
    absent = [item for item in inputs if item.name not in stand_ins]
    problems = [problem for item in absent for problem in _elsewhere(item, keys.get(item.name, ""))]
    problems += _strangers(stand_ins, {item.name for item in inputs})
    if problems:
        raise SmtrainError(problems)
    with tempfile.TemporaryDirectory(prefix="smtrain-") as name:
        folder = Path(name)
        try:
            _fill(folder, program, (link for item in inputs for link in _links(item, stand_ins.get(item.name))))
        except OSError as error:
            what = f"`{error.filename or folder}`: {error.strerror or error}."
            raise fail(what, "Make room there, or set TMPDIR to another folder.", code=ExitCode.MISSING_HERE) from error
        yield folder


def _fill(folder: Path, program: Program, links: Iterable[tuple[str, Path]]) -> None:
    for file in (*program.files, *program.library):
        _place(folder, file.path).write_text(file.text, encoding="utf-8")
    for path, target in links:
        _place(folder, path).symlink_to(target)


def _place(folder: Path, path: str) -> Path:
    place = folder / path
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def _keys(job: Job) -> dict[str, str]:
    """Returns input → the key that named it."""
    sets = {placed.input.name: dataset.key for dataset, placed in places.data(job) if placed.input is not None}
    return {"model": "model.path", **sets}


def _links(item: Input, stand_in: Path | None) -> Iterator[tuple[str, Path]]:
    """Yields the place and the target of each link that an input needs."""
    if stand_in is not None:
        yield item.path, stand_in
    elif item.staging is Staging.IN_PLACE:
        yield item.path, _here(item)
    elif len(item.files) == 1:
        yield item.path, item.files[0].path.absolute()
    else:
        yield from ((f"{item.path}/{file.path.name}", file.path.absolute()) for file in item.files)


def _here(item: Input) -> Path:
    return Path(item.uri).expanduser().absolute()


def _elsewhere(item: Input, key: str) -> Iterator[Problem]:
    if item.staging is Staging.COPY or target_paths.is_on_target(item.uri):
        what = f"`{item.uri}` is not on this machine, where this command reads it."
        fix = f"Name a copy that is here: --input {item.name}=PATH."
    elif item.staging is Staging.IN_PLACE and not _here(item).exists():
        what, fix = f"There is nothing at `{item.uri}` on this machine.", "Name what is here."
    else:
        return
    yield Problem(key=key, what=what, fix=fix, code=ExitCode.MISSING_HERE)


def _strangers(stand_ins: Mapping[str, Path], names: Collection[str]) -> Iterator[Problem]:
    for name, path in stand_ins.items():
        if name not in names:
            what = f"--input {name}={path}: this command reads no input of that name."
            yield Problem(key="", what=what, fix=suggest.did_you_mean(name, names))
