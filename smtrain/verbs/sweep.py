"""One point of a sweep, as Hydra's launchers call it: in this process, or pickled and sent to another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig

from smtrain import runs
from smtrain.console import Console
from smtrain.errors import ExitCode, fail
from smtrain.passes.compose import Request, as_typed
from smtrain.registry import Registry
from smtrain.spec import State
from smtrain.verbs.run import compile_and_launch

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass(frozen=True, slots=True)
class Point:
    """Hydra's task function: compiles and launches one point, and returns the metric that `objective` names.

    Attributes:
      request: what the sweep was asked for; its overrides are replaced by the point's own.
      as_json: print one JSON line a point.
    """

    request: Request
    as_json: bool

    def __call__(self, _: DictConfig) -> float | None:
        """Runs the point that Hydra is at.

        Raises:
          SmtrainError: the run failed, or it never reported the metric that a sweeper waits for.
        """
        overrides = tuple(as_typed(str(text)) for text in HydraConfig.get().overrides.task)
        console = Console(as_json=self.as_json)
        compiled, receipt = compile_and_launch(replace(self.request, overrides=overrides), Registry(), console)
        console.result({**runs.as_json(receipt), "run_dir": str(compiled.run_dir), "overrides": list(overrides)})
        if receipt.state is not State.SUCCEEDED:
            what = f"{compiled.run_id} {receipt.state.value}: step `{receipt.step}`, exit code {receipt.exit_code}."
            raise fail(what, f"See smtrain logs {runs.spoken(compiled.run_dir)}", code=ExitCode.WORKLOAD_FAILED)
        objective = compiled.execution.objective
        if objective is None:
            return None
        value = runs.final_metric(compiled.run_dir, objective)
        if value is None:
            what = f"{compiled.run_id} never reported a metric called `{objective}`."
            raise fail(what, "Name one that its metrics.jsonl holds.", key="objective", code=ExitCode.WORKLOAD_FAILED)
        return value
