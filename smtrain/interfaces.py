"""What a trainer and a backend are to the compiler."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from smtrain.errors import ExitCode, Problem
from smtrain.spec import Action, Bundle, Job, Json, LogLine, Program, Receipt, RowShape, Run

OptionsT = TypeVar("OptionsT", contravariant=True)
SectionT = TypeVar("SectionT", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """What resolving a run must know of its trainer, read off the trainer's options.

    Attributes:
      rows: the shape of rows it trains on; None when it reads no data.
      micro_batch_size: the micro batch size if the trainer's own options set it.
      micro_batch_key: the key that set it.
      gradient_accumulation_steps: the same for accumulation.
      gradient_accumulation_key: the key that set it.
      epochs: passes over the data.
      max_steps: optimizer steps, when given directly.
      eval_fraction: share (< 1) or number (≥ 1) of training rows split off for evaluation.
      max_samples: at most so many rows of each data set are used.
      packing: whether samples are joined, so that steps cannot be counted from rows.
      token_batches: whether a micro-batch is filled up to a number of tokens, so that it has no size in samples.
      rich_responses: whether a response may also be a message, a list of messages, or a list of responses; otherwise it
        is text, or a message in rows of messages.
    """

    rows: RowShape | None
    micro_batch_size: int | None = None
    micro_batch_key: str = ""
    gradient_accumulation_steps: int | None = None
    gradient_accumulation_key: str = ""
    epochs: float | None = None
    max_steps: int | None = None
    eval_fraction: float = 0.0
    max_samples: int | None = None
    packing: bool = False
    token_batches: bool = False
    rich_responses: bool = False


class Trainer(Protocol[OptionsT]):
    """Turns a job into a program. Pure, and blind to the backend: no files, no clock, no environment."""

    def demands(self, run: Run, options: OptionsT) -> Demands:
        """Returns what resolving this run must know."""
        ...

    def check(self, job: Job, options: OptionsT) -> Iterable[Problem]:
        """Yields every reason why this job cannot train; keys are full paths such as `trainer.args.bf16`."""
        ...

    def lower(self, job: Job, options: OptionsT) -> Program:
        """Returns the program of a job that `check` found no error in."""
        ...


class Backend(Protocol[OptionsT]):
    """Turns a program into a bundle, pure and blind to the trainer, and looks after the run that comes of it."""

    def check(self, job: Job, program: Program, options: OptionsT) -> Iterable[Problem]:
        """Yields every reason why this target cannot run this program."""
        ...

    def lower(self, job: Job, program: Program, options: OptionsT) -> Bundle:
        """Returns the bundle; every runtime variable is bound in it."""
        ...

    def status(self, run_dir: Path, receipt: Receipt) -> Receipt:
        """Returns the receipt as it is now."""
        ...

    def logs(self, run_dir: Path, receipt: Receipt, *, follow: bool) -> Iterator[LogLine]:
        """Yields the workload's output line by line; with `follow`, until it ends."""
        ...

    def stop(self, run_dir: Path, receipt: Receipt) -> Receipt:
        """Ends the run, giving it time to save."""
        ...


@runtime_checkable
class ChecksJobs(Protocol[OptionsT]):
    """A backend that finds mistakes in a job alone, so that they are told together with the trainer's."""

    def check_job(self, job: Job, options: OptionsT) -> Iterable[Problem]:
        """Yields what stands in the way whatever the program is; `check` need not say it again."""
        ...


@runtime_checkable
class Shortens(Protocol[OptionsT]):
    """A trainer that can be told to train for a few steps only, for a rehearsal."""

    def shortened(self, job: Job, options: OptionsT, *, steps: int, on_cpu: bool) -> tuple[str, ...]:
        """Returns the overrides, of the `trainer` section alone, that make of a job its own rehearsal.

        Args:
          job: the job.
          options: of the trainer.
          steps: optimizer steps after which the training ends; what has no steps ends by itself.
          on_cpu: whether `compute.accelerator=cpu` is laid over the run as well, so that settings that need a GPU
            must give way.
        """
        ...


class Importer(Protocol):
    """Turns another tool's configuration into one of ours."""

    def convert(self, text: str, *, source: str, root: Path) -> str:
        """Returns an experiment config as YAML.

        Args:
          text: the other tool's configuration.
          source: its path, for messages.
          root: the folder that relative paths in it are relative to.

        Raises:
          SmtrainError: it is no such configuration, or holds what cannot be carried over.
        """
        ...


class Printer(Protocol):
    """Where a command's words go: the one place that prints."""

    @property
    def as_json(self) -> bool:
        """Whether --json was given: a result is then one line of JSON on stdout, and prose goes nowhere."""
        ...

    def say(self, text: str = "") -> None:
        """Prints a line of prose on stdout, unless JSON was asked for."""
        ...

    def rows(self, rows: Iterable[tuple[str, str]]) -> None:
        """Prints (title, text) rows of prose, the titles in one column; a title that repeats is left out."""
        ...

    def result(self, document: Json) -> None:
        """Prints a result, when JSON was asked for."""
        ...

    def problems(self, problems: Iterable[Problem]) -> None:
        """Prints problems on stderr; one that ends the command is raised instead (`SmtrainError`)."""
        ...


class Command(Protocol):
    """A command about a run that is compiled and not launched."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds the command's own flags; --json and Hydra's are there, and other words are overrides."""
        ...

    def run(self, job: Job, program: Program, flags: argparse.Namespace, out: Printer) -> ExitCode:
        """Does what the command is for.

        Args:
          job: the run, resolved; nobody objected to it.
          program: what it would execute.
          flags: the command's own among them.
          out: prints.

        Returns:
          The exit code.

        Raises:
          SmtrainError: what is wrong, with the keys at fault; they are located.
        """
        ...


class SectionCompiler(Protocol[SectionT]):
    """The compiler's passes, for a command about a section of its plugin's own."""

    def section(self, check: Callable[[SectionT], Iterable[Problem]] | None = None) -> SectionT:
        """Composes the section from the command line, and returns it typed.

        Args:
          check: yields what else is wrong with a section, of which keys that could not be typed have their defaults.

        Raises:
          SmtrainError: with everything that is wrong in it, located.
        """
        ...

    def report(self, problems: Iterable[Problem]) -> None:
        """Locates problems, and prints the warnings.

        Raises:
          SmtrainError: with all of them, when one is an error.
        """
        ...

    def write(self, bundle: Bundle, folder: Path) -> Path:
        """Checks a bundle, writes it into a folder of its own in `folder`, and returns that.

        Raises:
          SmtrainError: it holds a secret, or a script that is no bash, or cannot be written.
        """
        ...

    def actions(self, written: Path) -> tuple[Action, ...]:
        """Returns what submitting a bundle does, having proven that it still is what `write` wrote.

        Raises:
          SmtrainError: it is none, or was changed.
        """
        ...

    def submit(self, written: Path) -> Receipt:
        """Does what the bundle that `write` returned the folder of, and nothing else, says; progress is shown.

        Raises:
          SmtrainError: the bundle was changed, or the target refuses.
        """
        ...

    def may(self, question: str, rows: Iterable[tuple[str, str]]) -> bool:
        """Returns whether to go on, having asked once where a person is there to be asked; --yes asks nobody."""
        ...


class SectionCommand(Protocol[OptionsT]):
    """A command about a section of its plugin's own, and no run."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds the command's own flags; --json, --yes and Hydra's are there, and other words are overrides."""
        ...

    def run(self, compiler: SectionCompiler[OptionsT], flags: argparse.Namespace, out: Printer) -> ExitCode:
        """Does what the command is for.

        Args:
          compiler: gives the section, and takes what is made of it.
          flags: the command's own among them.
          out: prints.

        Returns:
          The exit code.

        Raises:
          SmtrainError: what is wrong, with the keys at fault; they are located.
        """
        ...
