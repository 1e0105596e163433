"""`smtrain data tokenize` and `smtrain data plan-batches`: a run's rows in tokens, and the batches they make."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from smtrain.plugin import ExitCode, Job, Printer, Program, fail
from smtrain_native import places
from smtrain_native.laid_out import laid_out
from smtrain_native.on_this_machine import execute
from smtrain_native.options import NativeOptions
from smtrain_native.runtime import settings
from smtrain_native.runtime.settings import Settings


class Tokenize:
    """Turns the rows of a run into tokens, which the run then finds in the cache."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds what may stand in for an input; how rows are read is a matter of the run."""
        _add_input(parser)

    def run(self, job: Job, program: Program, flags: argparse.Namespace, out: Printer) -> ExitCode:
        """Tokenises here what the run's first step would."""
        told = _settings(job, program)
        with laid_out(job, program, tuple(_read(told)), _stand_ins(flags.input)) as folder:
            return execute(job, "tokenize", places.DOCUMENT, *_json(out), folder=folder)


class PlanBatches:
    """Answers which token budget gives which batch size, on the run's own rows."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds the question, what it need not say, and what may stand in for an input."""
        _add_input(parser)
        asked = parser.add_mutually_exclusive_group()
        asked.add_argument(
            "--batch-size",
            type=_count,
            metavar="B",
            help="which budget gives B samples in every optimizer step; left out, lines `B [W [A]]` are read",
        )
        asked.add_argument("--budget", type=_count, metavar="TOKENS", help="what this budget gives")
        parser.add_argument("--gpus", type=_count, metavar="W", help="processes (those of the run)")
        parser.add_argument(
            "--accumulation",
            type=_count,
            metavar="A",
            help="micro-batches of each process and step (those of the run, else 1)",
        )

    def run(self, job: Job, program: Program, flags: argparse.Namespace, out: Printer) -> ExitCode:
        """Tokenises the rows, unless that is done, and answers."""
        told = _settings(job, program)
        words = ["--gpus", str(flags.gpus or job.topology.world_size)]
        for name in ("batch_size", "budget", "accumulation"):
            value = getattr(flags, name)
            words += [] if value is None else [f"--{name.replace('_', '-')}", str(value)]
        # Whether a model's layers can share a prompt is a question to its classes.
        packages = ("torch",) if told.kind == "preference" else ()
        with laid_out(job, program, tuple(_read(told)), _stand_ins(flags.input)) as folder:
            return execute(job, "plan_batches", places.DOCUMENT, *words, *_json(out), folder=folder, packages=packages)


def _add_input(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="a file or folder of this machine in the place of an input that it has not; may be repeated",
    )


def _stand_ins(words: Iterable[str]) -> dict[str, Path]:
    """Returns name → path of what is to stand in for inputs.

    Raises:
      SmtrainError: a word names no input, or nothing is there.
    """
    found: dict[str, Path] = {}
    for word in words:
        name, _, path = word.partition("=")
        if not (name and path):
            raise fail(what=f"`--input {word}` names no input.", fix="Write --input NAME=PATH.")
        found[name] = Path(path).expanduser().absolute()
        if not found[name].exists():
            what = f"There is no `{path}`, to stand in for the input `{name}`."
            raise fail(what, "Name a file or folder; relative paths start at the current folder.")
    return found


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number < 2**31:
        raise ValueError
    return number


_count.__name__ = "whole number of 1 and more"  # which argparse names in its message


def _settings(job: Job, program: Program) -> Settings:
    """Returns what the run time is told.

    Raises:
      SmtrainError: it is another trainer's run.
    """
    if not isinstance(job.run.trainer.options, NativeOptions):
        what = f"`{job.run.trainer.name}` has no tokens before it trains: it is none of the native trainers."
        raise fail(what, "Choose trainer=native_sft or trainer=native_dpo.", key="trainer.name")
    document = next(file.text for file in program.files if file.path == places.DOCUMENT)
    return settings.parse(Settings, json.loads(document))


def _read(told: Settings) -> Iterator[str]:
    """Yields the paths that tokenising reads."""
    yield told.model.path
    for dataset in told.data.sets:
        yield from dataset.files


def _json(out: Printer) -> tuple[str, ...]:
    return ("--json",) if out.as_json else ()
