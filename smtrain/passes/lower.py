"""Lower: `Job` → `Program` by the trainer, then `Job` and `Program` → `Bundle` by the backend."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from smtrain.interfaces import Backend, Demands, Trainer
from smtrain.spec import Bundle, EnvVar, Job, Program, Run

T = TypeVar("T")


def to_demands(run: Run, trainer: Trainer[object]) -> Demands:
    """Returns what the trainer asks of resolving the run."""
    return _checked(trainer.demands(run, run.trainer.options), Demands, "demands")


def to_program(job: Job, trainer: Trainer[object]) -> Program:
    """Returns the trainer's program, with the run's own environment added to it."""
    program = _checked(trainer.lower(job, job.run.trainer.options), Program, "lower")
    own = tuple(EnvVar(name=name, value=value) for name, value in sorted(job.run.env.items()))
    names = {variable.name for variable in own}
    kept = tuple(variable for variable in program.env if variable.name not in names)
    return replace(program, env=(*kept, *own))


def to_bundle(job: Job, program: Program, backend: Backend[object]) -> Bundle:
    """Returns the backend's bundle, carrying the warnings of every pass before it."""
    bundle = _checked(backend.lower(job, program, job.run.backend.options), Bundle, "lower")
    return replace(bundle, warnings=(*job.warnings, *bundle.warnings))


def _checked(value: object, kind: type[T], method: str) -> T:
    """Returns what a plugin's method returned; raises TypeError when it is not what the interface says."""
    if not isinstance(value, kind):
        message = f"{method} returned {value!r}, which is no {kind.__name__}"
        raise TypeError(message)
    return value
