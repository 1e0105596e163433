"""Lower: `Job` → `Program` by the trainer, then `Job` and `Program` → `Bundle` by the backend."""

from __future__ import annotations

from dataclasses import replace

from smtrain.interfaces import Backend, Trainer
from smtrain.spec import Bundle, EnvVar, Job, Program


def to_program(job: Job, trainer: Trainer[object]) -> Program:
    """Returns the trainer's program, with the run's own environment added to it."""
    program = trainer.lower(job, job.run.trainer.options)
    if not isinstance(program, Program):
        message = f"lower returned {program!r}, which is no Program"
        raise TypeError(message)
    own = tuple(EnvVar(name=name, value=value) for name, value in sorted(job.run.env.items()))
    names = {variable.name for variable in own}
    kept = tuple(variable for variable in program.env if variable.name not in names)
    return replace(program, env=(*kept, *own))


def to_bundle(job: Job, program: Program, backend: Backend[object]) -> Bundle:
    """Returns the backend's bundle, carrying the warnings of every pass before it."""
    bundle = backend.lower(job, program, job.run.backend.options)
    if not isinstance(bundle, Bundle):
        message = f"lower returned {bundle!r}, which is no Bundle"
        raise TypeError(message)
    return replace(bundle, warnings=(*job.warnings, *bundle.warnings))
