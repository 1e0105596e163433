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


@dataclass(frozen=True, slots=True, kw_only=True)
class Free:
    """A name that no job has.

    Attributes:
      name: of the job that is to be made.
      tries: which try of the run it is.
    """

    name: str
    tries: int


class Knows(Protocol):
    """What knows jobs by the names they were given."""

    def find(self, name: str) -> Known | None:
        """Returns the job of this name, the newest if there are several; None when there is none."""
        ...


class Target(Knows, Protocol):
    """What takes jobs, too."""

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
    found = look_up(receipt, target, observer=observer, longest_name=longest_name)
    if isinstance(found, Receipt):
        return found
    known = target.create(found.name)
    observer.line(f"{_shown(found.name, known)}: submitted")
    return begun(receipt, known, found.tries)


def look_up(receipt: Receipt, target: Knows, *, observer: Observer, longest_name: int) -> Receipt | Free:
    """Returns the receipt of a job that the target has, or the name under which the next is to be made.

    The arguments are those of `submit_once`.

    Raises:
      SmtrainError: a name is too long; and what the target raises.
    """
    for tries in itertools.count(receipt.tries):
        name = _name(receipt.run_id, tries, longest_name)
        known = target.find(name)
        if known is None:
            return Free(name=name, tries=tries)
        observer.line(f"{_shown(name, known)}: {known.state.value} already, from an earlier submission")
        if known.state not in _OVER:
            return replace(receipt, state=known.state) if receipt.job == known.job else begun(receipt, known, tries)
    raise AssertionError


def begun(receipt: Receipt, known: Known, tries: int) -> Receipt:
    """Returns the receipt of a run whose job is at the target now, its try of this number."""
    return Receipt(
        run_id=receipt.run_id,
        backend=receipt.backend,
        state=known.state,
        started=time.time(),
        job=known.job,
        tries=tries,
    )


def _name(run_id: str, tries: int, longest: int) -> str:
    name = run_id if tries == 1 else f"{run_id}-t{tries}"
    if len(name) > longest:
        what = f"`{name}` has {len(name)} characters, of which the target takes {longest}."
        raise fail(what, "Shorten the run's name.", key="name")
    return name


def _shown(name: str, known: Known) -> str:
    return name if known.job == name else f"{name} (job {known.job})"
