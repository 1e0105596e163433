"""One optimizer step over several processes: forward, backward, update; plainly, with DDP, or with DeepSpeed's ZeRO.

Gradients are summed over micro-batches and processes: a loss is divided by what the whole step holds, never by what one
process does, so that results do not depend on how samples are spread.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from smtrain_native.runtime.layout import Layout
from smtrain_native.runtime.model import Loaded, PackedModel, load
from smtrain_native.runtime.processes import Processes
from smtrain_native.runtime.settings import Optimizer, Settings

STATE_FILE = "state.pt"
WEIGHTS_FILE = "weights.safetensors"
SHARDS_WEIGHTS = 3
"""The stage of ZeRO that shards the weights too."""


Computes = Callable[[Layout], torch.Tensor]
"""Returns log p of every target of a micro-batch, shape (R,)."""


class Engine(Protocol):
    """What trains a model."""

    model: PackedModel

    def logps(self, layout: Layout) -> torch.Tensor:
        """Returns log p of every target of a micro-batch, shape (R,), with what its backward pass needs."""
        ...

    def evaluated(self, layout: Layout) -> torch.Tensor:
        """Returns log p of every target, without anything for a backward pass."""
        ...

    def micro_batch(self, *, last: bool) -> contextlib.AbstractContextManager[None]:
        """Surrounds the forward and backward pass of one micro-batch.

        Args:
          last: whether it is the last one of the step, after which processes add up.
        """
        ...

    def backward(self, loss: torch.Tensor) -> None:
        """Adds the gradients of this process's share of the step's loss."""
        ...

    def step(self, learning_rate: float) -> float:
        """Updates the weights unless the gradients are not finite; returns their norm before clipping."""
        ...

    def forget(self) -> None:
        """Drops the gradients gathered so far."""
        ...

    def save(self, folder: Path) -> None:
        """Writes weights and optimizer into a folder, every process its part."""
        ...

    def load(self, folder: Path) -> None:
        """Reads what `save` wrote."""
        ...

    def weights(self) -> Mapping[str, torch.Tensor]:
        """Returns the trained weights by the names that transformers and peft give them; whole on the first process."""
        ...

    def close(self) -> None:
        """Lets go of what has to be let go before the processes part."""
        ...


def engine(settings: Settings, processes: Processes) -> tuple[Engine, Loaded]:
    """Returns the engine of a run, with its model loaded."""
    if settings.parallel.kind != "deepspeed":
        loaded = load(settings, processes.device, trained=True)
        return PlainEngine(settings, loaded.packed, processes), loaded
    document = zero_document(settings, processes)
    sharded = _stage(document) == SHARDS_WEIGHTS
    loaded = load(settings, processes.device, trained=True, sharded=document if sharded else None)
    return ZeroEngine(settings, document, loaded.packed, processes), loaded


@contextlib.contextmanager
def frozen(settings: Settings, processes: Processes) -> Iterator[tuple[Computes, Loaded]]:
    """Yields the model as a training finds it, computing without gradients; with ZeRO-3 its weights are sharded.

    Args:
      settings: of the run.
      processes: all.
    """
    document = zero_document(settings, processes) if settings.parallel.kind == "deepspeed" else {}
    sharded = _stage(document) == SHARDS_WEIGHTS
    loaded = load(settings, processes.device, trained=False, sharded=document if sharded else None)
    if not sharded:
        yield loaded.packed.to(processes.device), loaded
        return
    import deepspeed

    # Only an optimizer can be offloaded, and there is none.
    document["zero_optimization"].pop("offload_optimizer", None)
    made, *_ = deepspeed.initialize(model=loaded.packed, config=document)
    try:
        yield made, loaded
    finally:
        made.destroy()


class PlainEngine:
    """One process, or several that each hold the whole model (DDP)."""

    def __init__(self, settings: Settings, model: PackedModel, processes: Processes) -> None:
        """Moves the model to its device and makes the optimizer."""
        self.model = model.to(processes.device)
        self._processes = processes
        self._max_norm = settings.optimizer.max_grad_norm
        self._optimizer = torch.optim.AdamW(_groups(model, settings.optimizer), **_adam(settings.optimizer), fused=True)
        self._wrapped: nn.Module = self.model
        if processes.world_size > 1:
            on_gpu = processes.device.type == "cuda"
            self._wrapped = nn.parallel.DistributedDataParallel(
                self.model,
                device_ids=[processes.device] if on_gpu else None,
                gradient_as_bucket_view=True,
                broadcast_buffers=False,
            )

    def logps(self, layout: Layout) -> torch.Tensor:
        """See `Engine`."""
        logps_R: torch.Tensor = self._wrapped(layout)
        return logps_R

    def evaluated(self, layout: Layout) -> torch.Tensor:
        """See `Engine`."""
        logps_R: torch.Tensor = self.model(layout)
        return logps_R

    def backward(self, loss: torch.Tensor) -> None:
        """See `Engine`."""
        # DDP averages where gradients are to be summed.
        (loss * self._processes.world_size).backward()

    @contextlib.contextmanager
    def micro_batch(self, *, last: bool) -> Iterator[None]:
        """See `Engine`; DDP decides in the forward pass whether the backward one adds up."""
        with contextlib.nullcontext() if last or self._wrapped is self.model else self._wrapped.no_sync():
            yield

    def step(self, learning_rate: float) -> float:
        """See `Engine`."""
        trained = [each for group in self._optimizer.param_groups for each in group["params"]]
        limit = math.inf if self._max_norm is None else self._max_norm
        norm = float(nn.utils.clip_grad_norm_(trained, limit))
        if math.isfinite(norm):
            _set_rate(self._optimizer, learning_rate)
            self._optimizer.step()
        self.forget()
        return norm

    def forget(self) -> None:
        """See `Engine`."""
        self._optimizer.zero_grad(set_to_none=self._wrapped is self.model)

    def save(self, folder: Path) -> None:
        """See `Engine`; every process holds the same, so one of each output folder writes."""
        if not self._processes.is_writer:
            return
        from safetensors.torch import save_file

        save_file({name: each.detach().contiguous() for name, each in self._trained()}, folder / WEIGHTS_FILE)
        torch.save(self._optimizer.state_dict(), folder / STATE_FILE)

    def load(self, folder: Path) -> None:
        """See `Engine`."""
        from safetensors.torch import load_file

        found = load_file(folder / WEIGHTS_FILE)
        with torch.no_grad():
            for name, parameter in self._trained():
                parameter.copy_(found[name])
        self._optimizer.load_state_dict(torch.load(folder / STATE_FILE, weights_only=True, map_location="cpu"))

    def weights(self) -> Mapping[str, torch.Tensor]:
        """See `Engine`."""
        return {name: each.detach() for name, each in self.model.model.state_dict().items()}

    def close(self) -> None:
        """See `Engine`."""

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, each) for name, each in self.model.model.named_parameters() if each.requires_grad)


class ZeroEngine:
    """DeepSpeed, at any stage of ZeRO."""

    def __init__(
        self, settings: Settings, document: Mapping[str, Any], model: PackedModel, processes: Processes
    ) -> None:
        """Hands model and optimizer over to DeepSpeed."""
        import deepspeed

        groups = _groups(model, settings.optimizer)
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
        _set_rate(self._engine.optimizer, learning_rate)
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
        if self.stage == SHARDS_WEIGHTS:
            found = self._engine._zero3_consolidated_16bit_state_dict()  # noqa: SLF001  # save_16bit_model's own way
            whole = found or {}
        else:
            whole = self.model.state_dict()
        return {name.removeprefix("model."): each for name, each in whole.items()}

    def close(self) -> None:
        """See `Engine`: a process that read a stage-3 checkpoint aborts at its end otherwise (DeepSpeed 0.19.8)."""
        self._engine.destroy()


def zero_document(settings: Settings, processes: Processes) -> dict[str, Any]:
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


def _stage(document: Mapping[str, Any]) -> int:
    return int(document.get("zero_optimization", {}).get("stage", 0))


def _zero_optimizer(
    document: Mapping[str, Any], groups: list[dict[str, Any]], told: Optimizer
) -> torch.optim.Optimizer:
    offloaded = document.get("zero_optimization", {}).get("offload_optimizer", {}).get("device") == "cpu"
    if offloaded:
        from deepspeed.ops.adam import DeepSpeedCPUAdam

        adam: torch.optim.Optimizer = DeepSpeedCPUAdam(groups, **_adam(told), adamw_mode=True)
        return adam
    return torch.optim.AdamW(groups, **_adam(told), fused=True)


def _adam(told: Optimizer) -> dict[str, Any]:
    return {"lr": told.learning_rate, "betas": (told.beta1, told.beta2), "eps": told.epsilon}


def _groups(model: PackedModel, told: Optimizer) -> list[dict[str, Any]]:
    """Returns matrices, which decay, and biases and norms, which do not."""
    trained = [each for each in model.parameters() if each.requires_grad]
    # ZeRO-3 leaves an empty tensor behind, and the true shape beside it.
    flat = {id(each) for each in trained if len(getattr(each, "ds_shape", each.shape)) < 2}  # noqa: PLR2004
    groups = [
        {"params": [each for each in trained if id(each) not in flat], "weight_decay": told.weight_decay},
        {"params": [each for each in trained if id(each) in flat], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _set_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
