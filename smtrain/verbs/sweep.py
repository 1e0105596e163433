"""One point of a sweep, as Hydra's launchers call it: in this process, or pickled and sent to another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig

from smtrain import costs, receipts, run_folders, runs
from smtrain.console import Console
from smtrain.errors import ExitCode, fail
from smtrain.passes.compose import Request, as_typed
from smtrain.registry import Registry
from smtrain.spec import State
from smtrain.verbs import remote
from smtrain.verbs.launch import before, go, launch_of
from smtrain.verbs.run import announce, compile_and_write

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from smtrain.pipeline import Compiled
    from smtrain.spec import Receipt


@dataclass(frozen=True, slots=True)
class Point:
    """Hydra's task function: compiles and launches one point, and returns the metric that `objective` names.

    Attributes:
      request: what the sweep was asked for; its overrides are replaced by the point's own.
      as_json: print one JSON line a point.
      may_cost: whether a point may cost money; otherwise nobody was asked yet.
    """

    request: Request
    as_json: bool
    may_cost: bool = True

    def __call__(self, _: DictConfig) -> float | None:
        """Runs the point that Hydra is at.

        Raises:
          SmtrainError: the run failed, or it never reported the metric that a sweeper waits for.
        """
        overrides = tuple(as_typed(str(text)) for text in HydraConfig.get().overrides.task)
        console = Console(as_json=self.as_json)
        compiled, receipt = self._run(replace(self.request, overrides=overrides), console)
        console.result({**receipts.as_json(receipt), "run_dir": str(compiled.run_dir), "overrides": list(overrides)})
        objective = compiled.execution.objective
        if receipt.state is State.RUNNING and objective is None:
            return None
        if receipt.state is not State.SUCCEEDED:
            # A job elsewhere has stages, and none of those is what failed; its reason names the step.
            where = () if receipt.job else (f"step `{receipt.step}`, exit code {receipt.exit_code}",)
            why = ": ".join((*where, *filter(None, (receipt.reason,))))
            what = f"{compiled.run_id} {receipt.state.value}: {why.rstrip('.')}."
            raise fail(what, f"See smtrain logs {run_folders.spoken(compiled.run_dir)}", code=ExitCode.WORKLOAD_FAILED)
        if objective is None:
            return None
        value = runs.final_metric(compiled.run_dir, objective)
        if value is None:
            what = f"{compiled.run_id} never reported a metric called `{objective}`."
            raise fail(what, "Name one that its metrics.jsonl holds.", key="objective", code=ExitCode.WORKLOAD_FAILED)
        return value

    def _run(self, request: Request, console: Console) -> tuple[Compiled, Receipt]:
        """Launches a point; one that goes on elsewhere is waited for only when a sweeper needs its metric."""
        registry = Registry()
        compiled = compile_and_write(request, registry)
        launch = launch_of(compiled)
        launch = replace(launch, detach=launch.is_remote and compiled.execution.objective is None)
        receipt = before(launch, registry, console)
        if receipt is None:
            if compiled.manifest.cost is not None and not self.may_cost:
                what = "The sweeper chooses its points as it goes, so that nobody can say what the sweep will cost."
                raise fail(
                    what, f"{compiled.run_id} would cost {costs.text([compiled.manifest.cost])}. Go on with --yes."
                )
            announce(compiled, console)
        launched = go(launch, receipt, registry, console)
        if launched.left:
            raise KeyboardInterrupt
        if launch.detach:
            console.say(f"{compiled.run_id}: {remote.state(launched.receipt)}")
        return compiled, launched.receipt
