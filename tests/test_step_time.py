"""The least time of optimizer steps, against what is worked out by hand."""

from __future__ import annotations

import dataclasses

import pytest
from smtrain_native.runtime import peak_flops as of_the_run_time

from smtrain.machines import instances
from smtrain.memory.shapes import shape_of
from smtrain.spec import Footprint
from smtrain.step_time import operations_per_weight

FULL = Footprint(
    tuning="full",
    weight_bytes=2,
    optimizer="adamw_torch",
    sequence_length=2048,
    micro_batch_size=1,
    gradient_checkpointing=True,
)
LLAMA3 = shape_of({}, "Meta-Llama-3-8B")
assert LLAMA3 is not None


@pytest.mark.parametrize(
    ("changed", "operations"),
    [
        ({}, 6),
        ({"tuning": "freeze", "trainable_layers": 8}, 3),  # 2 forward, and 4 in a quarter of 32 layers
        ({"tuning": "freeze", "trainable_layers": 99}, 6),
        ({"tuning": "lora", "lora_rank": 8}, 4),
        ({"tuning": "lora", "lora_rank": 8, "lora_targets": ("q_proj",)}, 4),
        ({"tuning": "lora", "lora_rank": 8, "lora_targets": ("lm_head",)}, 2),  # no gradient enters the layers
        ({"tuning": "qlora", "lora_rank": 8}, 3),  # forward in 8 bits, at twice the rate
    ],
)
def test_a_weight_costs_two_operations_forward_and_as_many_for_each_gradient(
    changed: dict[str, object], operations: float
) -> None:
    assert operations_per_weight(LLAMA3, dataclasses.replace(FULL, **changed)) == operations


def test_of_the_experts_those_count_that_compute_for_a_token() -> None:
    mixtral = shape_of({}, "Mixtral-8x7B-v0.1")
    assert mixtral is not None
    attention = 2 * 4096 * 4096 + 2 * 4096 * 1024
    assert mixtral.active_parameters == 32 * (attention + 2 * 3 * 4096 * 14336)
    assert LLAMA3.active_parameters == 32 * (attention + 3 * 4096 * 14336)


@pytest.mark.parametrize("gpu", ["V100", "T4", "A100", "A10G", "L4", "L40S", "H100", "H200", "B200"])
def test_the_peak_of_a_gpu_is_that_which_the_run_time_knows(gpu: str) -> None:
    assert instances.peak_flops(gpu) == of_the_run_time.peak_flops(f"NVIDIA {gpu}")


def test_a_gpu_is_known_in_whatever_case_and_otherwise_not_at_all() -> None:
    assert instances.peak_flops("h100") == 989e12
    assert instances.peak_flops("") is None
    assert instances.peak_flops("a100_1g.5gb") is None  # a slice
