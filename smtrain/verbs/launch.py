"""Launching one run, here or elsewhere, and staying with it until it ends."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from smtrain import receipts
from smtrain.console import Console
from smtrain.console_view import view
from smtrain.errors import SmtrainError, fail
from smtrain.hookspecs import Event
from smtrain.manifest import Manifest
from smtrain.passes.submit import submit
from smtrain.pipeline import Compiled
from smtrain.progress import Observer
from smtrain.registry import Registry
from smtrain.spec import Exec, Receipt, State
from smtrain.verbs import remote
from smtrain.watching import Careful


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A run to be launched.

    Attributes:
      run_dir: its folder, with the bundle in it.
      manifest: the bundle's manifest, already proven.
      resume: whether it goes on from its newest checkpoint, as the setting `resume` says.
      attempt: which run of its bundle it is.
      detach: come back once it has started.
    """

    run_dir: Path
    manifest: Manifest
    resume: str = "auto"
    attempt: int = 1
    detach: bool = False

    @property
    def is_remote(self) -> bool:
        """Whether the training is elsewhere than in a process of this machine."""
        return not any(isinstance(action, Exec) and action.workload for action in self.manifest.actions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """What became of a launch.

    Attributes:
      receipt: as last known.
      left: whether whoever followed it left before its end.
    """

    receipt: Receipt
    left: bool = False


def launch_of(compiled: Compiled, *, detach: bool = False) -> Launch:
    """Returns the launch of a compiled run."""
    return Launch(
        run_dir=compiled.run_dir,
        manifest=compiled.manifest,
        resume=compiled.execution.resume,
        attempt=compiled.execution.attempt,
        detach=detach,
    )


def before(launch: Launch, registry: Registry, console: Console) -> Receipt | None:
    """Returns the receipt of a run that need not be launched any more: it succeeded, or goes on at its target.

    Raises:
      SmtrainError: it would go on from a checkpoint though it is not to, or its state cannot be told.
    """
    receipt = receipts.read(launch.run_dir)
    if receipt is not None and receipt.state is State.RUNNING and launch.is_remote:
        receipt = registry.backend(receipt.backend).status(launch.run_dir, receipt)
        if receipt.state is State.RUNNING:
            console.say(f"{launch.run_dir.name} is going already.")
            return receipt
    if receipt is None or receipt.state is not State.SUCCEEDED:
        _refuse_to_resume(launch, receipt)
        return None
    console.say(
        f"{launch.run_dir.name} succeeded before; its results are kept. "
        f"Ask for another run with attempt={launch.attempt + 1}."
    )
    return receipt


def _refuse_to_resume(launch: Launch, receipt: Receipt | None) -> None:
    # `resume` is no part of the bundle, so the next job of this run would not know.
    if launch.resume == "never" and launch.is_remote and receipt is not None and receipt.job:
        what = f"{launch.run_dir.name} {receipt.state.value} before, and would go on from what it saved."
        fix = f"A run of its own starts afresh: attempt={launch.attempt + 1}. To go on, leave `resume` out."
        raise fail(what, fix, key="resume")


def go(launch: Launch, receipt: Receipt | None, registry: Registry, console: Console) -> Launched:
    """Launches a run, unless there is a receipt that says that it was, and follows it until it ends.

    Raises:
      SmtrainError: it could not be launched, or be followed to its end.
    """
    if receipt is not None and receipt.state is not State.RUNNING:
        return Launched(receipt=receipt)
    with view(quiet=console.as_json) as shown:
        observer = Careful(shown)  # `smtrain … | head` leaves the run to itself
        if receipt is None:
            registry.announce(Event(kind="started", run_dir=str(launch.run_dir)))
            receipt = submit(
                launch.run_dir,
                launch.manifest,
                env=environment(launch.run_dir, launch.resume),
                observer=observer,
                detach=launch.detach,
                backend=lambda: registry.backend(launch.manifest.backend),
            )
        launched = _followed(launch, receipt, registry, console, observer)
    if launched.receipt.state is not State.RUNNING:
        registry.announce(Event(kind="ended", run_dir=str(launch.run_dir), receipt=launched.receipt))
    if launched.left:
        console.say(remote.goes_on(launch.run_dir))
    return launched


def environment(run_dir: Path, resume: str) -> dict[str, str]:
    """Returns this process's environment with what a launch script asks of whoever starts it."""
    return {
        **os.environ,
        "SMTRAIN_RUN_DIR": str(run_dir.absolute()),
        "SMTRAIN_BASE": str(Path.cwd()),
        "SMTRAIN_PYTHON": os.environ.get("SMTRAIN_PYTHON", sys.executable),
        "SMTRAIN_RESUME": resume,
    }


def _followed(launch: Launch, receipt: Receipt, registry: Registry, console: Console, observer: Observer) -> Launched:
    if not launch.is_remote or launch.detach:
        return Launched(receipt=receipt)
    backend = registry.backend(receipt.backend)
    try:
        ended = remote.follow(launch.run_dir, receipt, backend, console, observer)
    except KeyboardInterrupt:
        return Launched(receipt=receipt, left=True)
    except SmtrainError:
        console.say(remote.goes_on(launch.run_dir))
        raise
    for problem in remote.bring_metrics(launch.run_dir, launch.manifest.progress, ended, backend, observer):
        observer.line(f"smtrain: {problem}")
    return Launched(receipt=ended)
