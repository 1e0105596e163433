"""What a backend whose jobs are elsewhere may do beside compiling; each is asked for by the verb that needs it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from smtrain.progress import Observer
from smtrain.spec import Bundle, Job, Json, Receipt

OptionsT = TypeVar("OptionsT", contravariant=True)


@runtime_checkable
class HandsOver(Protocol):
    """A backend that gives its jobs to the target itself, in the way that the bundle's action `HandOver` says."""

    def hand_over(self, run_dir: Path, document: Json, receipt: Receipt, *, observer: Observer) -> Receipt:
        """Gives the job to the target, unless it has it already, and returns the receipt with its name there.

        Args:
          run_dir: the run's folder; nothing but `run_dir/bundle` may be read.
          document: the document that the action names.
          receipt: so far; that of an earlier try tells its job.
          observer: is told what happens.

        Raises:
          SmtrainError: the target refused, or cannot be reached; submitting again is safe.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """A run of a sweep that is handed over with others.

    Attributes:
      run_dir: its folder; nothing but `run_dir/bundle` may be read.
      document: the document that its action `HandOver` names.
      receipt: so far.
    """

    run_dir: Path
    document: Json
    receipt: Receipt


@runtime_checkable
class HandsOverTogether(Protocol):
    """A backend that can give the runs of a sweep to the target in one go: see `HandOver.together`."""

    def hand_over_together(self, runs: Sequence[Handed], *, observer: Observer) -> tuple[Receipt, ...]:
        """Gives the target those jobs that it has not, and returns the receipts of all runs in their order.

        Args:
          runs: of one sweep, all for this backend.
          observer: is told what happens.

        Raises:
          SmtrainError: the target refused, or cannot be reached; submitting again is safe.
        """
        ...


@runtime_checkable
class Fetches(Protocol):
    """A backend whose results are elsewhere, and can be fetched."""

    def fetch(self, run_dir: Path, receipt: Receipt, *, parts: tuple[str, ...], observer: Observer) -> tuple[Path, ...]:
        """Brings results into the run's folder, where the local backend has them, and returns what came.

        Args:
          run_dir: the run's folder.
          receipt: its receipt.
          parts: of "model", "checkpoints", "metrics".
          observer: is told what happens.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """How to rehearse.

    Attributes:
      inputs: name of an input → local file or folder that stands in for what the target would have.
      timeout_s: after which the workload is asked to end, as the target would.
      docker: use the real image.
    """

    inputs: Mapping[str, Path] = field(default_factory=dict)
    timeout_s: int = 600
    docker: bool = False


@runtime_checkable
class Rehearses(Protocol):
    """A backend that can execute a bundle on this machine the way its target would."""

    def rehearse(self, run_dir: Path, rehearsal: Rehearsal, *, env: Mapping[str, str], observer: Observer) -> Receipt:
        """Executes the bundle in `run_dir/bundle`, sending nothing anywhere.

        Args:
          run_dir: the run's folder.
          rehearsal: how.
          env: environment of this machine.
          observer: is shown the workload's lines.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that a doctor looked at.

    Attributes:
      subject: what, e.g. "role".
      good: whether it is as it must be; None when it could not be seen.
      what: what was found.
      fix: what to do.
    """

    subject: str
    good: bool | None
    what: str
    fix: str = ""


@runtime_checkable
class Diagnoses(Protocol[OptionsT]):
    """A backend that can look at its target before anything is launched there."""

    def diagnose(self, job: Job, bundle: Bundle, options: OptionsT) -> Iterable[Finding]:
        """Yields what it finds; calls out, and changes nothing."""
        ...
