"""What this plugin adds to smtrain. It only names its parts, which are imported when they are chosen."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from smtrain.plugin import BackendSpec, Event, Job, Problem, TrainerSpec, hookimpl, warning


@hookimpl
def smtrain_trainers() -> Iterable[TrainerSpec]:
    """Offers `trainer=ngram`."""
    module = "smtrain_ngram.trainer"
    yield TrainerSpec(
        name="ngram", load=f"{module}:Ngram", options=f"{module}:NgramOptions", summary="Character n-grams, counted."
    )


@hookimpl
def smtrain_backends() -> Iterable[BackendSpec]:
    """Offers `backend=nice`."""
    module = "smtrain_ngram.backend"
    yield BackendSpec(
        name="nice", load=f"{module}:Nice", options=f"{module}:NiceOptions", summary="This machine, at low priority."
    )


@hookimpl
def smtrain_config_paths() -> Iterable[str]:
    """Adds the config groups of `conf/`."""
    return ["pkg://smtrain_ngram.conf"]


@hookimpl
def smtrain_checks(job: Job) -> Iterable[Problem]:
    """An organisation's rule: results that are kept elsewhere carry a name that says what they are."""
    if job.run.storage.output and job.run.name == "smtrain":
        yield warning("name", "A run whose results are kept has no name of its own.", "Set name=WHAT-IT-IS.")


@hookimpl
def smtrain_on_event(event: Event) -> None:
    """Writes down what happened, where a tracker or a chat would be told."""
    if event.receipt is not None:
        with (Path(event.run_dir) / "events.log").open("a", encoding="utf-8") as log:
            log.write(f"{event.kind}: {event.receipt.state.value}\n")
