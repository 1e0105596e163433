"""What a trainer and a backend are to the compiler."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from smtrain.errors import Problem
from smtrain.spec import Bundle, Job, Program, Receipt, RowShape, Run

OptionsT = TypeVar("OptionsT", contravariant=True)


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

    def logs(self, run_dir: Path, receipt: Receipt, *, follow: bool) -> Iterator[str]:
        """Yields the workload's output line by line; with `follow`, until it ends."""
        ...

    def stop(self, run_dir: Path, receipt: Receipt) -> Receipt:
        """Ends the run, giving it time to save."""
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
