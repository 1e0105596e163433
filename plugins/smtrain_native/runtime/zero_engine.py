"""The engine of DeepSpeed, at any stage of ZeRO."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from smtrain_native.runtime import adamw
from smtrain_native.runtime.layout import Layout
from smtrain_native.runtime.model import PackedModel
from smtrain_native.runtime.processes import Processes
from smtrain_native.runtime.settings import Optimizer, Settings

_SHARDS_WEIGHTS = 3
"""The stage of ZeRO that shards the weights too."""


class ZeroEngine:
    """DeepSpeed, at any stage of ZeRO."""

    def __init__(
        self, settings: Settings, document: Mapping[str, Any], model: PackedModel, processes: Processes
    ) -> None:
        """Hands model and optimizer over to DeepSpeed."""
        import deepspeed

        groups = adamw.groups(model, settings.optimizer)
        self.model = model
        self._processes = processes
        made, *_ = deepspeed.initialize(
            model=model, config=document, optimizer=_zero_optimizer(document, groups, settings.optimizer)
        )
        self._engine: Any = made
        self.stage: int = made.zero_optimization_stage()

    def logps(self, layout: Layout) -> torch.Tensor:
        """See `Engine`."""
        logps_R: torch.Tensor = self._engine(layout)
        return logps_R

    def evaluated(self, layout: Layout) -> torch.Tensor:
        """See `Engine`."""
        return self.logps(layout)

    @contextlib.contextmanager
    def micro_batch(self, *, last: bool) -> Iterator[None]:
        """See `Engine`."""
        self._engine.set_gradient_accumulation_boundary(last)
        yield

    def backward(self, loss: torch.Tensor) -> None:
        """See `Engine`."""
        # DeepSpeed averages over processes, and would over micro-batches.
        self._engine.backward(loss * self._processes.world_size, scale_wrt_gas=False)

    def step(self, learning_rate: float) -> float:
        """See `Engine`."""
        adamw.set_rate(self._engine.optimizer, learning_rate)
        self._engine.step()
        norm = self._engine.get_global_grad_norm()
        return math.nan if norm is None else float(norm)

    def forget(self) -> None:
        """See `Engine`."""
        self._engine.optimizer.zero_grad()

    def save(self, folder: Path) -> None:
        """See `Engine`."""
        self._engine.save_checkpoint(str(folder), tag="zero", exclude_frozen_parameters=True)

    def load(self, folder: Path) -> None:
        """See `Engine`."""
        self._engine.load_checkpoint(str(folder), tag="zero", load_module_strict=False)

    def weights(self) -> Mapping[str, torch.Tensor]:
        """See `Engine`."""
        if self.stage == _SHARDS_WEIGHTS:
            found = self._engine._zero3_consolidated_16bit_state_dict()  # noqa: SLF001  # save_16bit_model's own way
            whole = found or {}
        else:
            whole = self.model.state_dict()
        return {name.removeprefix("model."): each for name, each in whole.items()}

    def close(self) -> None:
        """See `Engine`: a process that read a stage-3 checkpoint aborts at its end otherwise (DeepSpeed 0.19.8)."""
        self._engine.destroy()


def document_of(settings: Settings, processes: Processes) -> dict[str, Any]:
    """Returns the DeepSpeed document with the numbers that only DeepSpeed's own loop would need made harmless."""
    path = settings.parallel.deepspeed
    document: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}
    document["train_micro_batch_size_per_gpu"] = 1
    # Says that there may be several micro-batches; where a step ends is told before each of them.
    document["gradient_accumulation_steps"] = 2
    document["train_batch_size"] = 2 * processes.world_size
    document["gradient_clipping"] = settings.optimizer.max_grad_norm or 0.0
    document.setdefault("bf16", {"enabled": settings.training.precision == "bf16"})
    document.setdefault("steps_per_print", 10**9)
    return document


def shards_weights(document: Mapping[str, Any]) -> bool:
    """Whether a document asks for the stage that shards the weights, too."""
    return int(document.get("zero_optimization", {}).get("stage", 0)) == _SHARDS_WEIGHTS


def _zero_optimizer(
    document: Mapping[str, Any], groups: list[dict[str, Any]], told: Optimizer
) -> torch.optim.Optimizer:
    offloaded = document.get("zero_optimization", {}).get("offload_optimizer", {}).get("device") == "cpu"
    if offloaded:
        from deepspeed.ops.adam import DeepSpeedCPUAdam

        adam: torch.optim.Optimizer = DeepSpeedCPUAdam(groups, **adamw.arguments(told), adamw_mode=True)
        return adam
    return torch.optim.AdamW(groups, **adamw.arguments(told), fused=True)
