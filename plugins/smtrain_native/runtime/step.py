"""One optimizer step: every micro-batch forward and backward, then the update, unless something is not finite."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from smtrain_native.runtime import attention
from smtrain_native.runtime.ending import UserError
from smtrain_native.runtime.engine import Engine
from smtrain_native.runtime.epochs import MicroBatch, StepBatch
from smtrain_native.runtime.model import Loaded
from smtrain_native.runtime.objective import Objective, Share
from smtrain_native.runtime.processes import Processes
from smtrain_native.runtime.settings import Settings
from smtrain_native.runtime.window import Work

_NAMED = 20
"""Prompts named in a message."""


class NotFiniteError(UserError):
    """A loss or a gradient is not finite; the message names the prompts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a step came to, over all processes.

    Attributes:
      metrics: name → mean.
      grad_norm: of the gradients before clipping; nan where nobody says.
      work: what was computed; without the time.
    """

    metrics: Mapping[str, float]
    grad_norm: float
    work: Work


class Stepper:
    """Takes steps."""

    def __init__(
        self, settings: Settings, engine: Engine, objective: Objective, loaded: Loaded, processes: Processes
    ) -> None:
        """Takes what a step needs."""
        self._settings, self._engine, self._objective = settings, engine, objective
        self._loaded, self._processes = loaded, processes

    def step(self, batch: StepBatch, learning_rate: float) -> Done:
        """Takes one step.

        Args:
          batch: this process's micro-batches.
          learning_rate: of this step.

        Raises:
          NotFiniteError: a loss or a gradient is not finite, and `non_finite` says stop.
        """
        (total,) = self._processes.sum(sum(self._objective.weight(each.layout) for each in batch.own))
        last = len(batch.micro_batches) - 1
        shares = [
            self._micro_batch(micro, total, last=number == last) for number, micro in enumerate(batch.micro_batches)
        ]
        *sums, bad, tokens, squares, room = self._processes.sum(
            *torch.stack([share.sums_M for share in shares]).double().sum(dim=0).tolist(),
            sum(float((~torch.isfinite(share.losses_B)).sum()) for share in shares),
            *self._counted(batch),
        )
        if bad:
            norm = self._refuse(f"the loss of {bad:.0f} sample(s) is not finite", _not_finite(batch, shares))
        else:
            norm = self._engine.step(learning_rate)
            if not math.isfinite(norm):
                self._refuse(f"the gradients are not finite (norm {norm})", _prompts(batch))
        return Done(
            metrics={name: value / total for name, value in zip(self._objective.metrics, sums, strict=True)},
            grad_norm=norm,
            work=Work(
                samples=batch.samples, tokens=round(tokens), square_tokens=round(squares), capacity_tokens=round(room)
            ),
        )

    def _micro_batch(self, micro: MicroBatch, total: float, *, last: bool) -> Share:
        layout = micro.layout.to(self._processes.device)
        with attention.over(layout, self._loaded.kernel), self._engine.micro_batch(last=last):
            share = self._objective.share(layout, self._engine.logps(layout), micro.numbers)
            self._engine.backward(share.loss * (0.0 if micro.idle else 1.0 / max(total, 1.0)))
        sums_M = torch.zeros_like(share.sums_M) if micro.idle else share.sums_M
        return Share(loss=share.loss.detach(), losses_B=share.losses_B, sums_M=sums_M)

    def _counted(self, batch: StepBatch) -> tuple[float, float, float]:
        """Returns tokens, the squares of what attends to itself, and the tokens that there was room for."""
        layouts = [each.layout for each in batch.own]
        squares = sum(span.keys**2 for layout in layouts for span in layout.spans)
        room = len(batch.micro_batches) * self._settings.batching.max_tokens_per_device
        return float(sum(layout.tokens for layout in layouts)), float(squares), float(room)

    def _refuse(self, what: str, prompts: list[str]) -> float:
        """Leaves the step out, or ends the training.

        Raises:
          NotFiniteError: `non_finite` says stop.
        """
        self._engine.forget()
        named = ", ".join(prompts[:_NAMED]) + (f" and {len(prompts) - _NAMED} more" if len(prompts) > _NAMED else "")
        here = f"process {self._processes.rank}" if self._processes.world_size > 1 else "this step"
        message = f"{what}; prompt_ids of {here}: {named or 'none of them'}."
        if self._settings.training.non_finite == "stop":
            message += (
                " Look at these rows, lower the learning rate, or set trainer.non_finite=skip to leave such steps out."
            )
            raise NotFiniteError(message)
        print(f"warning: {message} The step is left out.", flush=True)
        return math.nan


def _not_finite(batch: StepBatch, shares: list[Share]) -> list[str]:
    """Returns the prompts whose loss is not finite; a sample of supervised tuning has one loss, a pair too."""
    return [
        prompt_id
        for micro, share in zip(batch.micro_batches, shares, strict=True)
        for prompt_id, loss in zip(micro.layout.prompt_ids, share.losses_B.tolist(), strict=True)
        if not math.isfinite(loss)
    ]


def _prompts(batch: StepBatch) -> list[str]:
    return [prompt_id for micro in batch.micro_batches for prompt_id in micro.layout.prompt_ids]
