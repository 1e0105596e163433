"""One optimizer step over several processes: forward, backward, update; plainly, with DDP, or with DeepSpeed's ZeRO.

Gradients are summed over micro-batches and processes: a loss is divided by what the whole step holds, never by what one
process does, so that results do not depend on how samples are spread.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import torch

from smtrain_native.runtime import zero_engine
from smtrain_native.runtime.layout import Layout
from smtrain_native.runtime.model import Loaded, PackedModel, load
from smtrain_native.runtime.plain_engine import PlainEngine
from smtrain_native.runtime.processes import Processes
from smtrain_native.runtime.settings import Settings
from smtrain_native.runtime.zero_engine import ZeroEngine

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
    document = zero_engine.document_of(settings, processes)
    sharded = zero_engine.shards_weights(document)
    loaded = load(settings, processes.device, trained=True, sharded=document if sharded else None)
    return ZeroEngine(settings, document, loaded.packed, processes), loaded


@contextlib.contextmanager
def frozen(settings: Settings, processes: Processes) -> Iterator[tuple[Computes, Loaded]]:
    """Yields the model as a training finds it, computing without gradients; with ZeRO-3 its weights are sharded.

    Args:
      settings: of the run.
      processes: all.
    """
    document = zero_engine.document_of(settings, processes) if settings.parallel.kind == "deepspeed" else {}
    sharded = zero_engine.shards_weights(document)
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
