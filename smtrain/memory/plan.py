"""The GPU memory of a compiled run, on the machine that it names."""

from __future__ import annotations

from collections.abc import Iterator

from smtrain.errors import Problem, warning
from smtrain.machines import instances
from smtrain.memory.estimate import Estimate, estimate
from smtrain.memory.shapes import shape_of
from smtrain.spec import Job, Program


def memory(job: Job, program: Program) -> Estimate | None:
    """Returns the estimate; None where the machine, the model's shape or what the trainer keeps is not known."""
    machine = instances.find(job.run.compute.instance_type or "")
    if machine is None or not machine.gpus or job.topology.accelerator == "cpu" or program.footprint is None:
        return None
    shape = shape_of(job.model.config, job.model.reference)
    if shape is None:
        return None
    return estimate(
        shape,
        program.footprint,
        strategy=job.run.strategy.kind,
        world_size=job.topology.world_size,
        gpu_memory_gib=machine.gpu_memory_gib,
    )


def check(job: Job, program: Program) -> Iterator[Problem]:
    """Yields a doubt when the run will hardly fit into the memory of its GPUs."""
    found = memory(job, program)
    if found is not None and found.verdict == "does not fit":
        what = f"The run needs about {found.total:.0f} GiB of each GPU, which has {found.gpu_memory:.0f}."
        fix = "Try tuning=lora or qlora, strategy=zero3, a smaller batch, or a larger type."
        yield warning("compute.instance_type", what, "\n".join((*found.explain, fix)))


def summary(found: Estimate) -> str:
    """Returns the estimate in one line."""
    parts = {
        "weights": found.weights,
        "gradients": found.gradients,
        "optimizer": found.optimizer,
        "activations": found.activations,
        "logits": found.logits,
        "reserve": found.reserve,
    }
    named = ", ".join(f"{name} {size:.1f}" for name, size in parts.items() if size >= _SHOWN_GIB)
    return f"{found.verdict}: about {found.total:.1f} of {found.gpu_memory:.0f} GiB a GPU ({named})"


_SHOWN_GIB = 0.05
