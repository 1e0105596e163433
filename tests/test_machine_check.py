"""An instance type is one, and has what the run asks of it; its GPUs are the processes of a host."""

from __future__ import annotations

import pytest

from smtrain.errors import Problem
from smtrain.machines.check import check
from smtrain.passes.resolve import _topology
from smtrain.sections import Compute


def found(**compute: object) -> list[Problem]:
    section = Compute(**compute)  # type: ignore[arg-type]  # a test's own fields
    return list(check(section, _topology(section)[0]))


def test_every_gpu_of_the_type_has_a_process() -> None:
    topology, problems = _topology(Compute(instance_type="ml.p4d.24xlarge", nodes=2))
    assert (topology.processes_per_node, topology.accelerator, topology.world_size) == (8, "gpu", 16)
    assert problems == ()


def test_a_type_without_gpus_has_one_process() -> None:
    assert _topology(Compute(instance_type="ml.m5.xlarge"))[0].processes_per_node == 1


def test_what_is_said_of_processes_goes_before_the_type() -> None:
    assert _topology(Compute(instance_type="ml.p4d.24xlarge", gpus_per_node=4))[0].processes_per_node == 4
    assert _topology(Compute(instance_type="ml.p4d.24xlarge", accelerator="cpu"))[0].processes_per_node == 1


@pytest.mark.parametrize(
    ("compute", "key", "told"),
    [
        ({"instance_type": "ml.g5.13xlarge"}, "compute.instance_type", "Did you mean"),
        ({"instance_type": "ml.m5.xlarge", "accelerator": "gpu"}, "compute.instance_type", "has no GPU"),
        ({"instance_type": "ml.g5.12xlarge", "gpus_per_node": 8}, "compute.gpus_per_node", "4 GPUs"),
        (
            {"instance_type": "ml.g5.12xlarge", "processes_per_node": 8, "accelerator": "gpu"},
            "compute.processes_per_node",
            "at most 4",
        ),
    ],
)
def test_a_machine_that_cannot_run_it_is_an_error(compute: dict[str, object], key: str, told: str) -> None:
    (problem,) = found(**compute)
    assert problem.is_error
    assert problem.key == key
    assert told in f"{problem.what} {problem.fix}"


@pytest.mark.parametrize(
    "compute",
    [
        {"instance_type": "ml.g5.12xlarge", "gpus_per_node": 1},
        {"instance_type": "ml.g5.xlarge", "accelerator": "cpu"},
        {"instance_type": "ml.p6e-gb200.36xlarge"},
    ],
)
def test_what_is_paid_for_nothing_or_not_known_is_a_doubt(compute: dict[str, object]) -> None:
    (problem,) = found(**compute)
    assert not problem.is_error


def test_without_a_type_there_is_nothing_to_say() -> None:
    assert found(gpus_per_node=8) == []
