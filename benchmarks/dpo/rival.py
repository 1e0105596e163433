"""What is measured of a trainer that is built on transformers'."""

from __future__ import annotations

from typing import Any

import measured
import torch
from measured import Stopwatch
from transformers import TrainerCallback


class Clock(TrainerCallback):  # type: ignore[misc]
    """Takes the time, the losses, the memory, and counts tokens."""

    def __init__(self) -> None:
        self.watch, self.losses = Stopwatch(), list[float]()
        self.tokens = self.computed = self.peak = 0

    def on_train_begin(self, *_: object, **more: Any) -> None:  # noqa: ANN401
        assert {each.dtype for each in more["model"].parameters()} == {torch.float32}
        self.watch.__enter__()

    def on_log(self, *_: object, logs: dict[str, float], **__: object) -> None:
        if "loss" in logs:
            self.losses.append(logs["loss"])

    def on_train_end(self, *_: object, **__: object) -> None:
        self.watch.__exit__()
        self.peak = measured.peak()


def counted(trainer: type, clock: Clock) -> type:
    """Returns a trainer that counts the tokens of its micro-batches, and what is computed for them."""

    class Counted(trainer):  # type: ignore[misc]
        def training_step(self, model: Any, inputs: Any, *more: Any) -> torch.Tensor:  # noqa: ANN401
            clock.tokens += int(inputs["attention_mask"].sum())
            clock.computed += inputs["attention_mask"].numel()
            return super().training_step(model, inputs, *more)

    return Counted
