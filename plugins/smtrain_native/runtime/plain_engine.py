"""The engine of one process, or of several that each hold the whole model (DDP)."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import nn

from smtrain_native.runtime import adamw
from smtrain_native.runtime.layout import Layout
from smtrain_native.runtime.model import PackedModel
from smtrain_native.runtime.processes import Processes
from smtrain_native.runtime.settings import Settings

STATE_FILE = "state.pt"
WEIGHTS_FILE = "weights.safetensors"


class PlainEngine:
    """One process, or several that each hold the whole model (DDP)."""

    def __init__(self, settings: Settings, model: PackedModel, processes: Processes) -> None:
        """Moves the model to its device and makes the optimizer."""
        self.model = model.to(processes.device)
        self._processes = processes
        told = settings.optimizer
        self._max_norm = told.max_grad_norm
        self._optimizer = torch.optim.AdamW(adamw.groups(model, told), **adamw.arguments(told), fused=True)
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
            adamw.set_rate(self._optimizer, learning_rate)
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
