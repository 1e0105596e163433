"""What every program must keep to, so that a script can run it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath

from smtrain import distributed, shell
from smtrain.errors import ExitCode, Problem
from smtrain.spec import Concat, InputPath, Program, Resume, Word


def problems(program: Program) -> Iterator[Problem]:
    """Yields what keeps a program from being run by a script: settings of the user's, or mistakes of the trainer's."""
    for variable in program.env:
        if not shell.can_be_set(variable.name) or variable.name.startswith("SMTRAIN_"):
            yield Problem(
                key=f"env.{variable.name}",
                what=f"A script cannot set an environment variable of the name {variable.name!r}.",
                fix="Names are letters, digits and `_`; bash's own and those that start with SMTRAIN_ are taken.",
            )
    if any("\0" in text for text in _texts(program)):
        yield Problem(
            key="", what="A setting contains a NUL character, which no command line can carry.", fix="Remove it."
        )
    for what in (*_broken_paths(program), *_doubles(program), *_unknown_inputs(program), *_no_worker(program)):
        yield Problem(
            key="trainer", what=what, fix="This is a mistake of the trainer's plugin.", code=ExitCode.BROKEN_PLUGIN
        )


def words(program: Program) -> Iterator[Word]:
    """Yields every word of the program's commands and environment."""
    for step in program.steps:
        yield from step.argv
    for variable in program.env:
        yield variable.value


def _broken_paths(program: Program) -> Iterator[str]:
    files = [file.path for file in (*program.files, *program.library)]
    for path in (*files, *(path for _, path in _linked(program))):
        parts = PurePosixPath(path).parts
        if not parts or parts[0] == "/" or ".." in parts:
            yield f"The program has a file at {path!r}, which is not inside the working directory."
    for name, _ in _linked(program):
        if "/" in name or name in {"", ".", ".."}:
            yield f"The program has an input or output of the name {name!r}, which cannot be a folder's name."
    for step in program.steps:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", step.name):
            yield f"The program has a step of the name {step.name!r}, which is not lower-case words joined by `-`."


def _doubles(program: Program) -> Iterator[str]:
    links = [PurePosixPath(path) for _, path in _linked(program)]
    for kind, names in (
        ("steps of the name", [step.name for step in program.steps]),
        ("inputs of the variable", [shell.input_variable(item.name) for item in program.inputs]),
        ("outputs of the variable", [shell.output_variable(output.name) for output in program.outputs]),
        ("inputs or outputs at the path", [str(path) for path in links]),
        ("files at the path", [str(PurePosixPath(file.path)) for file in (*program.files, *program.library)]),
    ):
        for name, count in Counter(names).items():
            if count > 1:
                yield f"The program has {count} {kind} {name!r}."
    for file in (*program.files, *program.library):
        for link in links:
            if PurePosixPath(file.path).is_relative_to(link):
                yield f"The program puts its file {file.path!r} into its own input or output {str(link)!r}."


def _linked(program: Program) -> tuple[tuple[str, str], ...]:
    """Returns name and path of every input and output."""
    inputs = [(item.name, item.path) for item in program.inputs]
    return (*inputs, *((output.name, output.path) for output in program.outputs))


def _unknown_inputs(program: Program) -> Iterator[str]:
    known = {item.name for item in program.inputs}
    for word in words(program):
        for part in word.parts if isinstance(word, Concat) else (word,):
            if isinstance(part, InputPath) and part.name not in known:
                yield f"The program uses an input {part.name!r} that it does not have."


def _no_worker(program: Program) -> Iterator[str]:
    if distributed.WORKER in words(program) and distributed.WORKER not in {file.path for file in program.files}:
        yield f"The program starts {distributed.WORKER}, which `distributed.documents` gives, and has no such file."


def _texts(program: Program) -> Iterator[str]:
    for word in words(program):
        match word:
            case str():
                yield word
            case Resume(prefix):
                yield prefix
            case Concat(parts):
                yield from (part for part in parts if isinstance(part, str))
    for item in program.inputs:
        yield from (item.name, item.uri, item.path)
    for output in program.outputs:
        yield from (output.name, output.path, output.checkpoint_glob, output.checkpoint_complete)
