"""Giving a job to a target once, however often it is asked for, and anew once it has failed there."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, replace
from typing import Protocol

from smtrain.errors import fail
from smtrain.progress import Observer
from smtrain.spec import Receipt, State

_OVER = (State.FAILED, State.STOPPED, State.LOST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A job that the target has.

    Attributes:
      job: what the target calls it, which need not be the name that it was given.
      state: its state now.
    """

    job: str
    state: State


class Target(Protocol):
    """What takes jobs, and knows them by the names they were given."""

    def find(self, name: str) -> Known | None:
        """Returns the job of this name, the newest if there are several; None when there is none."""
        ...

    def create(self, name: str) -> Known:
        """Makes a job of this name, which was free a moment ago; if another of the run has it by now, returns that."""
        ...


def submit_once(receipt: Receipt, target: Target, *, observer: Observer, longest_name: int) -> Receipt:
    """Makes the run's job, unless the target has one that is going or done.

    It is looked for before it is made, so that an earlier submission whose answer got lost counts. A job that failed
    keeps its name; the next try's is `RUN_ID-t2`, and so on.

    Args:
      receipt: so far; its `tries` says with which name to begin.
      target: where the job goes.
      observer: is told in a line what became of each name.
      longest_name: characters of a name that the target takes.

    Returns:
      The receipt, with the job, the number of the try, and the state of what is there now.

    Raises:
      SmtrainError: a name is too long; and what the target raises.
    """
    for tries in itertools.count(receipt.tries):
        name = _name(receipt.run_id, tries, longest_name)
        known = target.find(name)
        if known is None:
            known = target.create(name)
            observer.line(f"{_shown(name, known)}: submitted")
            return _begun(receipt, known, tries)
        observer.line(f"{_shown(name, known)}: {known.state.value} already, from an earlier submission")
        if known.state not in _OVER:
            return replace(receipt, state=known.state) if receipt.job == known.job else _begun(receipt, known, tries)
    raise AssertionError


def _name(run_id: str, tries: int, longest: int) -> str:
    name = run_id if tries == 1 else f"{run_id}-t{tries}"
    if len(name) > longest:
        what = f"`{name}` has {len(name)} characters, of which the target takes {longest}."
        raise fail(what, "Shorten the run's name.", key="name")
    return name


def _shown(name: str, known: Known) -> str:
    return name if known.job == name else f"{name} (job {known.job})"


def _begun(receipt: Receipt, known: Known, tries: int) -> Receipt:
    return Receipt(
        run_id=receipt.run_id,
        backend=receipt.backend,
        state=known.state,
        started=time.time(),
        job=known.job,
        tries=tries,
    )
