"""Whether an instance type is one, and has what the run asks of it."""

from __future__ import annotations

from collections.abc import Iterator

from smtrain.errors import Problem, warning
from smtrain.machines import instances
from smtrain.sections import Compute
from smtrain.spec import Topology

KEY = "compute.instance_type"


def check(compute: Compute, topology: Topology) -> Iterator[Problem]:
    """Yields what is wrong with the machines."""
    name = compute.instance_type
    if name is None:
        return
    machine = instances.find(name)
    if machine is None:
        yield _unknown(name)
        return
    wanted = topology.processes_per_node
    key = "compute.gpus_per_node" if compute.gpus_per_node is not None else "compute.processes_per_node"
    # Left open, the processes compute on the GPUs that the machine has.
    on_gpus = topology.accelerator == "gpu" or (topology.accelerator == "auto" and machine.gpus > 0)
    if on_gpus and not machine.gpus:
        what = f"`{name}` has no GPU."
        yield Problem(key=KEY, what=what, fix="Choose a type with GPUs, or compute.accelerator=cpu.")
    elif on_gpus and wanted > machine.gpus:
        what = f"{wanted} processes, each with a GPU of its own, but `{name}` has {_gpus(machine.gpus)}."
        yield Problem(key=key, what=what, fix=f"Set at most {machine.gpus}, or choose a larger type.")
    elif on_gpus and wanted < machine.gpus:
        what = f"`{name}` has {_gpus(machine.gpus)}, of which {wanted} will be used, and all are paid."
        yield warning(key, what, f"Leave it out to use all {machine.gpus}, or choose a smaller type.")
    elif topology.accelerator == "cpu" and machine.gpus:
        yield warning(KEY, f"`{name}` has {_gpus(machine.gpus)}, which a run on CPUs leaves idle.")


def _unknown(name: str) -> Problem:
    if instances.is_known_name(name):
        return warning(KEY, f"Nothing is known of `{name}` but its name, so nothing is checked of it.")
    return Problem(key=KEY, what=f"There is no instance type `{name}`.", fix=instances.suggestion(name))


def _gpus(count: int) -> str:
    return f"{count} GPU{'s' if count > 1 else ''}"
