"""The conformance kit: what every plugin must pass, ours included.

    from smtrain.testing import check_backend, check_trainer

    def test_acme_conforms():
        check_trainer("acme", overrides=("data=alpaca", "data.path=rows.jsonl"))

Each check raises AssertionError with what it saw.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from smtrain.errors import ExitCode, SmtrainError
from smtrain.passes.compose import Request
from smtrain.pipeline import Compiled, compile_run
from smtrain.registry import Registry
from smtrain.shell import variable_name
from smtrain.spec import BundleFile, Concat, Json, Program, RuntimeVar, Step, TextFile, Word

HOSTILE: tuple[str, ...] = (
    "two words",
    "it's",
    'say "hi"',
    "$(touch pwned)",
    "`touch pwned`",
    "${HOME}",
    "line\nbreak",
    "trailing\\",
    "a;b|c&d>e",
    "*?[x]",
    "#no comment",
    "-dash",
    "é 漢字",
)
"""Values that break a careless quoting."""

MARKER = "smtrain-conformance-secret-value"


def compile_overrides(
    overrides: Sequence[str], *, config_dir: str | Path | None = None, registry: Registry | None = None
) -> Compiled:
    """Compiles overrides in this process, writing nothing.

    Raises:
      SmtrainError: with every problem found.
    """
    dirs = (str(config_dir),) if config_dir is not None else ()
    return compile_run(Request(overrides=tuple(overrides), config_dirs=dirs), registry or Registry())


def check_trainer(name: str, *, overrides: Sequence[str] = (), config_dir: str | Path | None = None) -> None:
    """Proves that a trainer keeps the promises of the compiler, on the local backend and on every other that is there.

    Args:
      name: the trainer's name.
      overrides: what else a run with it needs, such as its data.
      config_dir: a folder of configs to search first.
    """
    words = (f"trainer={name}", *overrides)
    _check_same_bytes(words, config_dir)
    _check_unknown_key("trainer", words, config_dir)
    _check_no_secret(words, config_dir)
    registry = Registry()
    for backend in registry.backends:
        _check_lowers_or_says_why((*words, f"backend={backend}"), config_dir, registry)


def check_backend(name: str, *, overrides: Sequence[str] = (), config_dir: str | Path | None = None) -> None:
    """Proves that a backend keeps the promises of the compiler, under every trainer that is there.

    Args:
      name: the backend's name.
      overrides: what else a run on it needs.
      config_dir: a folder of configs to search first.
    """
    words = (f"backend={name}", *overrides)
    _check_same_bytes(words, config_dir)
    _check_unknown_key("backend", words, config_dir)
    _check_no_secret(words, config_dir)
    registry = Registry()
    _check_binds_every_variable(words, config_dir, registry)
    for trainer in registry.trainers:
        _check_lowers_or_says_why((*words, f"trainer={trainer}"), config_dir, registry)


def survives(program: Program, value: str) -> bool:
    """Tells whether a text reaches the program intact: in a word, in its environment, or in one of its files."""
    words = [*(word for step in program.steps for word in step.argv), *(variable.value for variable in program.env)]
    texts = [*(text for word in words for text in _literals(word)), *(item.uri for item in program.inputs)]
    return any(value in text for text in texts) or any(value in _scalars(file) for file in program.files)


def _literals(word: Word) -> Iterator[str]:
    if isinstance(word, str):
        yield word
    elif isinstance(word, Concat):
        yield "".join(part if isinstance(part, str) else "\0" for part in word.parts)


def _scalars(file: TextFile) -> list[str]:
    if file.path.endswith((".yaml", ".yml", ".json")):
        import yaml

        return list(_strings(yaml.safe_load(file.text)))
    return [file.text]


def _strings(value: Json) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for key, item in value.items():
                yield from (key, *_strings(item))
        case list():
            for item in value:
                yield from _strings(item)


def _check_same_bytes(words: Sequence[str], config_dir: str | Path | None) -> None:
    """Compiles twice, in two folders, under two hash seeds, without sockets; the manifests must be the same bytes."""
    manifests = []
    for seed in ("1", "2"):
        with tempfile.TemporaryDirectory() as folder:
            manifests.append(_manifest_in(Path(folder), seed, words, config_dir))
    if manifests[0] != manifests[1]:
        message = f"two compiles of {shlex.join(words)} differ:\n{manifests[0]}\n{manifests[1]}"
        raise AssertionError(message)


_PROBE = """
import socket, sys, json
def refuse(*_, **__): raise AssertionError("a compile opened a socket")
socket.socket.connect = refuse
from smtrain.manifest import render
from smtrain.testing import compile_overrides
config_dir, words = json.loads(sys.argv[1])
print(render(compile_overrides(words, config_dir=config_dir).manifest))
"""


def _manifest_in(folder: Path, seed: str, words: Sequence[str], config_dir: str | Path | None) -> str:
    where = str(Path(config_dir).absolute()) if config_dir is not None else None
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, json.dumps([where, list(words)])],
        cwd=folder,
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        message = f"compiling {shlex.join(words)} in another process failed:\n{done.stderr}"
        raise AssertionError(message)
    left = [path.name for path in folder.iterdir()]
    if left:
        message = f"a compile left files behind: {left}"
        raise AssertionError(message)
    return done.stdout


def _check_unknown_key(section: str, words: Sequence[str], config_dir: str | Path | None) -> None:
    key = f"{section}.no_such_key"
    try:
        compile_overrides((*words, f"{key}=1"), config_dir=config_dir)
    except SmtrainError as error:
        if error.exit_code is ExitCode.BAD_CONFIG and any(problem.key == key for problem in error.problems):
            return
        raise
    message = f"the unknown key {key} was accepted"
    raise AssertionError(message)


def _check_no_secret(words: Sequence[str], config_dir: str | Path | None) -> None:
    os.environ["SMTRAIN_CONFORMANCE_SECRET"] = MARKER
    try:
        compiled = compile_overrides((*words, "secrets.TOKEN=env:SMTRAIN_CONFORMANCE_SECRET"), config_dir=config_dir)
    finally:
        del os.environ["SMTRAIN_CONFORMANCE_SECRET"]
    for file in compiled.bundle.files:
        if isinstance(file.content, bytes) and MARKER.encode() in file.content:
            message = f"the value of a secret stands in {file.path}"
            raise AssertionError(message)


def _check_lowers_or_says_why(words: Sequence[str], config_dir: str | Path | None, registry: Registry) -> None:
    try:
        compile_overrides(words, config_dir=config_dir, registry=registry)
    except SmtrainError as error:
        if error.exit_code is ExitCode.BROKEN_PLUGIN:
            raise AssertionError(str(error)) from error


def _check_binds_every_variable(words: Sequence[str], config_dir: str | Path | None, registry: Registry) -> None:
    compiled = compile_overrides(words, config_dir=config_dir, registry=registry)
    probe = replace(compiled.program, steps=(Step(name="probe", argv=("printf", "%s\\n", *RuntimeVar)),))
    job = compiled.job
    backend = registry.backend(job.run.backend.name)
    bundle = backend.lower(job, probe, job.run.backend.options)
    text = "\n".join(_text(file) for file in bundle.files)
    unbound = [variable.value for variable in RuntimeVar if not _binds(text, variable_name(variable))]
    if unbound:
        message = f"backend {job.run.backend.name} leaves runtime variables unbound: {', '.join(unbound)}"
        raise AssertionError(message)


def _binds(text: str, name: str) -> bool:
    """Whether a text assigns the variable, says it as a key, or reads it with bash's `read`."""
    return bool(re.search(rf"\b{name}\b\"?\s*[:=]|^\s*read\b[^\n<]*\b{name}\b", text, re.MULTILINE))


def _text(file: BundleFile) -> str:
    return file.content.decode(errors="replace") if isinstance(file.content, bytes) else ""
