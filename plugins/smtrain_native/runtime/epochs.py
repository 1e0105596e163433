"""The micro-batches of a training, step by step, from wherever it is."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from smtrain_native.runtime import batching, sample_work
from smtrain_native.runtime.checkpoint import Position
from smtrain_native.runtime.ending import UserError
from smtrain_native.runtime.epoch_plan import AnyPlan, epoch_plan
from smtrain_native.runtime.layout import Layout, pack
from smtrain_native.runtime.model import Loaded
from smtrain_native.runtime.processes import Processes
from smtrain_native.runtime.settings import Settings
from smtrain_native.runtime.spreading import Samples


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """Samples that are computed together.

    Attributes:
      numbers: of the samples.
      layout: of their tokens, on the CPU.
      idle: whether it counts for nothing: this process has no sample left, and still must compute when others do.
    """

    numbers: np.ndarray
    layout: Layout
    idle: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBatch:
    """What this process computes in a step.

    Attributes:
      position: of the training once the step is done.
      samples: of the step, over all processes.
      epoch: passes over the data once the step is done, as a fraction.
      micro_batches: this process's.
    """

    position: Position
    samples: int
    epoch: float
    micro_batches: tuple[MicroBatch, ...]

    @property
    def own(self) -> tuple[MicroBatch, ...]:
        """The micro-batches that count."""
        return tuple(each for each in self.micro_batches if not each.idle)


class Epochs:
    """Plans each pass over the data; the same samples make up a step whatever the number of processes."""

    def __init__(self, settings: Settings, samples: Samples, loaded: Loaded, processes: Processes) -> None:
        """Plans the first pass.

        Raises:
          UserError: there is no plan; the message says why.
        """
        self._settings, self._samples, self._processes = settings, samples, processes
        self._shares, self._untrained = loaded.shares_prompts, loaded.predicts_untrained
        self._tokens_N = sample_work.counted(samples, share_prompts=self._shares)
        hidden = loaded.packed.causal.config.get_text_config().hidden_size
        self._work_N = sample_work.work(samples, self._tokens_N, hidden, share_prompts=self._shares)
        self.first = self._plan(0)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole training."""
        told = self._settings.training
        return told.max_steps or max(1, round(told.epochs * self.first.num_steps))

    def steps(self, position: Position) -> Iterator[StepBatch]:
        """Yields the steps that are left; the next one is laid out while one is computed."""
        with ThreadPoolExecutor(1) as ahead:
            places = self._places(position)
            waiting = None
            for place in places:
                upcoming = ahead.submit(self._batch, *place)
                if waiting is not None:
                    yield waiting.result()
                waiting = upcoming
            if waiting is not None:
                yield waiting.result()

    def _places(self, position: Position) -> Iterator[tuple[AnyPlan, Position]]:
        step, epoch, of_epoch = position.step, position.epoch, position.step_of_epoch
        plan = self.first if epoch == 0 else self._plan(epoch)
        while step < self.total_steps:
            if of_epoch == plan.num_steps:
                epoch, of_epoch = epoch + 1, 0
                plan = self._plan(epoch)
            step, of_epoch = step + 1, of_epoch + 1
            yield plan, Position(step=step, epoch=epoch, step_of_epoch=of_epoch)

    def _batch(self, plan: AnyPlan, position: Position) -> StepBatch:
        at = position.step_of_epoch - 1
        return StepBatch(
            position=position,
            samples=len(plan.step_samples(at)),
            epoch=position.epoch + position.step_of_epoch / plan.num_steps,
            micro_batches=tuple(
                self._micro_batch(numbers, at, plan) for numbers in plan.micro_batches(at, self._processes.rank)
            ),
        )

    def _micro_batch(self, numbers: np.ndarray, step: int, plan: AnyPlan) -> MicroBatch:
        idle = len(numbers) == 0
        if idle:
            numbers = plan.step_samples(step)[:1]
        samples = [self._samples.sample(int(number)) for number in numbers]
        layout = pack(samples, share_prompts=self._shares, untrained=self._untrained)
        return MicroBatch(numbers=numbers, layout=layout, idle=idle)

    def _plan(self, epoch: int) -> AnyPlan:
        told = self._settings.batching
        world_size, seed = self._processes.world_size, self._settings.seed
        try:
            return epoch_plan(told, self._tokens_N, self._work_N, world_size=world_size, seed=seed, epoch=epoch)
        except batching.PlanError as error:
            named = "" if error.sample is None else f" (prompt_id {self._samples.sample(error.sample).prompt_id!r})"
            message = f"trainer.max_tokens_per_device={told.max_tokens_per_device}: {error}{named}"
            raise UserError(message) from error
