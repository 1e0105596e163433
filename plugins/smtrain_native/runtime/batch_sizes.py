"""Token budgets and batch sizes of a run's own samples: the one that gives the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from smtrain_native.runtime import batching, sample_work, token_store
from smtrain_native.runtime.batching import PlanError, PlanReport
from smtrain_native.runtime.ending import UserError
from smtrain_native.runtime.epoch_plan import epoch_plan
from smtrain_native.runtime.model_shape import planned_model
from smtrain_native.runtime.settings import Settings
from smtrain_native.runtime.token_store import TokenSet
from smtrain_native.runtime.uneven import UnevenPlan

_IDLE = "the micro-batches of a step do not come out even: some GPUs are idle, and the figures are those of one GPU."


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A budget, and what it gives.

    Attributes:
      max_tokens_per_device: the budget.
      batch_size: samples of a step at least, where they were asked for.
      gpus: processes.
      accumulation: micro-batches of each process and step; None is as many as a step needs.
      report: of the plan of the first epoch.
      max_length: what `trainer.max_length` must be lowered to, so that the budget is accepted; None where it need not.
      remark: what to be aware of: that the budget is not accepted all the same, or that processes are idle; or "".
    """

    max_tokens_per_device: int
    batch_size: int | None
    gpus: int
    accumulation: int | None
    report: PlanReport
    max_length: int | None = None
    remark: str = ""

    def overrides(self) -> tuple[str, ...]:
        """Returns what makes a run train like that."""
        lengths = {"max_tokens_per_device": self.max_tokens_per_device, "max_length": self.max_length}
        budget = tuple(f"trainer.{name}={value}" for name, value in lengths.items() if value is not None)
        if self.accumulation is None:
            return budget
        # The plan fills the micro-batches; a size that is no multiple of them would only be refused.
        unit = self.gpus * self.accumulation
        size = self.batch_size if self.batch_size is not None and self.batch_size % unit == 0 else "null"
        return (*budget, f"gradient_accumulation_steps={self.accumulation}", f"global_batch_size={size}")

    def as_json(self) -> dict[str, object]:
        """Returns it as plain data."""
        return {
            "max_tokens_per_device": self.max_tokens_per_device,
            "batch_size": self.batch_size,
            "gpus": self.gpus,
            "accumulation": self.accumulation,
            **asdict(self.report),
            "overrides": list(self.overrides()),
            "remark": self.remark,
        }

    def lines(self) -> Iterator[str]:
        """Yields it as prose."""
        report = self.report
        gpus = f"{self.gpus} GPU{'s' if self.gpus > 1 else ''}"
        each = "as many micro-batches as it needs" if self.accumulation is None else f"accumulation {self.accumulation}"
        yield f"budget      {self.max_tokens_per_device:,} tokens a micro-batch"
        yield f"samples     [{report.samples_min}, {report.samples_max}] a step, on {gpus} with {each}"
        yield f"steps       {report.steps:,} an epoch"
        yield f"fill        {report.fill:.2%}"
        yield f"imbalance   {report.imbalance:.4f} × the mean work, of the busiest GPU"
        yield f"write       {' '.join(self.overrides())}"
        if self.remark:
            yield f"beware      {self.remark}"


class BatchSizes:
    """The training samples of a run, counted and weighed as its training does."""

    def __init__(self, settings: Settings, directory: Path) -> None:
        """Opens the tokens, which are made where they are not there.

        Args:
          settings: of the run.
          directory: that relative paths start from.

        Raises:
          UserError: rows, tokenizer or model do not allow it.
        """
        self._settings = settings
        self._sets = token_store.open_sets(settings, "train", directory)
        if not self._sets:
            message = "no data set of the run is trained on."
            raise UserError(message)
        self.lengths = np.concatenate([each.lengths for each in self._sets])
        model = planned_model(settings)
        self._tokens_N = sample_work.counted(self, share_prompts=model.shares_prompts)
        self._work_N = sample_work.work(self, self._tokens_N, model.hidden_size, share_prompts=model.shares_prompts)

    def budget_for(self, batch_size: int, *, gpus: int, accumulation: int) -> Answer:
        """Returns the least budget whose plan has at least so many samples in every step.

        Raises:
          UserError: there is none, and why.
        """
        try:
            found = batching.find_budget(
                self._tokens_N,
                self._work_N,
                batch_size=batch_size,
                world_size=gpus,
                accumulation=accumulation,
                seed=self._settings.seed,
            )
        except PlanError as error:
            raise self._named(error) from error
        answer = Answer(
            max_tokens_per_device=found.max_tokens_per_device,
            batch_size=batch_size,
            gpus=gpus,
            accumulation=accumulation,
            report=found.report,
        )
        return self._fitting(answer)

    def given(self, budget: int, *, gpus: int, accumulation: int | None) -> Answer:
        """Returns what a budget gives.

        Raises:
          UserError: nothing, and why.
        """
        told = replace(self._settings.batching, max_tokens_per_device=budget, accumulation=accumulation)
        try:
            plan = epoch_plan(told, self._tokens_N, self._work_N, world_size=gpus, seed=self._settings.seed, epoch=0)
        except PlanError as error:
            raise self._named(error) from error
        answer = Answer(
            max_tokens_per_device=budget,
            batch_size=None,
            gpus=gpus,
            accumulation=accumulation,
            report=plan.report(),
            remark=_IDLE if isinstance(plan, UnevenPlan) else "",
        )
        return self._fitting(answer)

    def _fitting(self, answer: Answer) -> Answer:
        """Returns an answer that says what else must be set.

        Before the rows are tokenised, nobody knows that no sample is as long as `max_length` lets it be: a budget must
        hold a response, or both of a pair, with the shortest prompt.
        """
        longest = int((self.lengths[:, 0] + self.lengths[:, 1:].max(axis=1)).max())
        responses, budget = self.lengths.shape[1] - 1, answer.max_tokens_per_device
        most = budget // responses
        if self._settings.data.max_length <= most:
            return answer
        if longest <= most:
            return replace(answer, max_length=most)
        remark = (
            f"a run with this budget asks for trainer.max_length={most} or less, and the longest sequence has "
            f"{longest}: the least budget that keeps it is {longest * responses}."
        )
        return replace(answer, remark=" ".join(filter(None, (answer.remark, remark))))

    def _named(self, error: PlanError) -> UserError:
        """Returns the error with the name of the sample at fault."""
        named = "" if error.sample is None else f" (prompt_id {_prompt_id(self._sets, error.sample)!r})"
        return UserError(f"{error}{named}")


def _prompt_id(sets: tuple[TokenSet, ...], number: int) -> str:
    for each in sets:
        if number < len(each):
            return each.prompt_id(number)
        number -= len(each)
    message = f"there is no sample {number}"
    raise IndexError(message)
