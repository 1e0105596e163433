"""The jobs that a program is split into: one, unless steps of it are asked to be jobs of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from smtrain.plugin import Job, Problem, Program, Scope, Step, suggest
from smtrain_hyperpod.slurm.options import SlurmOptions, StepJob


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Steps that follow each other, and are one job.

    Attributes:
      name: of the first of them; "" of the program's first part.
      steps: in their order.
      nodes: how many the job has.
      options: of the backend, with what is set for this part.
    """

    name: str
    steps: tuple[Step, ...]
    nodes: int
    options: SlurmOptions

    @property
    def script(self) -> str:
        """Name of what sbatch is given."""
        return f"job-{self.name}.sbatch" if self.name else "job.sbatch"

    @property
    def steps_script(self) -> str:
        """Name of what runs these steps alone."""
        return f"steps-{self.steps[0].name}.sh"


def parts(job: Job, program: Program, options: SlurmOptions) -> tuple[Part, ...]:
    """Returns the parts; where `backend.steps` names a step, a part begins."""
    begins = [0, *(at for at, step in enumerate(program.steps) if at and step.name in options.steps)]
    ends = [*begins[1:], len(program.steps)]
    return tuple(_part(job, program.steps[begin:end], options) for begin, end in zip(begins, ends, strict=True))


def _part(job: Job, steps: tuple[Step, ...], options: SlurmOptions) -> Part:
    own = options.steps.get(steps[0].name)
    if own is None:
        return Part(name="", steps=steps, nodes=job.topology.nodes, options=options)
    # It waits for the part before it, and for nothing else.
    changed = replace(options, dependency=None, begin=None, **said(own))
    return Part(name=steps[0].name, steps=steps, nodes=own.nodes or job.topology.nodes, options=changed)


def said(own: StepJob) -> dict[str, Any]:
    """Returns the options that a part has of its own, by their names, which are those of the backend's options."""
    return {name: getattr(own, name) for name in _SHARED if getattr(own, name) is not None}


_SHARED = ("partition", "time", "constraint", "nodelist", "exclude", "cpus_per_task", "mem")


def problems(job: Job, program: Program, options: SlurmOptions) -> Iterator[Problem]:
    """Yields why a program cannot be split so."""
    if not options.steps:
        return
    names = [step.name for step in program.steps]
    for name in options.steps:
        if name not in names:
            what = f"The program has no step `{name}`."
            yield Problem(key=f"backend.steps.{name}", what=what, fix=suggest.did_you_mean(name, names[1:]))
        elif name == names[0]:
            what = f"`{name}` is the first step, for which the settings of the backend itself are."
            yield Problem(key=f"backend.steps.{name}", what=what, fix="Leave it out.")
    for part in parts(job, program, options):
        yield from _nodes(job, part)
    if (job.run.storage.output or "").startswith("s3://"):
        what = "Results go to S3, and a later job would not find on its nodes what an earlier one has made."
        yield Problem(key="backend.steps", what=what, fix="Keep results on the shared folder: storage.output=null.")
    if options.array:
        what = "A run of an array is one job."
        yield Problem(key="backend.array", what=what, fix="Leave backend.array or backend.steps out.")


def _nodes(job: Job, part: Part) -> Iterator[Problem]:
    everywhere = [step.name for step in part.steps if step.scope is Scope.EVERY_NODE]
    if everywhere and part.nodes != job.topology.nodes:
        what = f"Step `{everywhere[0]}` runs on all {job.topology.nodes} nodes of the run."
        yield Problem(key=f"backend.steps.{part.name}.nodes", what=what, fix="Leave it out, or change compute.nodes.")
