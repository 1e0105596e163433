"""A sweep whose jobs go to their target in one go, and are left there to go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from smtrain import receipts
from smtrain.console import Console
from smtrain.console_view import view
from smtrain.errors import fail
from smtrain.hookspecs import Event
from smtrain.passes.submit import is_handed_over_together, submit_together
from smtrain.pipeline import Compiled, write
from smtrain.registry import Registry
from smtrain.spec import Receipt, State
from smtrain.verbs import remote
from smtrain.verbs.grid import GridPoint
from smtrain.verbs.launch import before, environment, launch_of
from smtrain.watching import Careful


def can_be(compiled: Sequence[Compiled]) -> bool:
    """Whether all points of a sweep are for one backend, which takes them in one go."""
    together = all(is_handed_over_together(each.manifest) for each in compiled)
    return together and len({each.manifest.backend for each in compiled}) == 1


def submit(points: Sequence[GridPoint], compiled: Sequence[Compiled], console: Console) -> None:
    """Writes every point's bundle, and submits those that have not succeeded yet and do not go.

    Raises:
      SmtrainError: the target refused, or cannot be reached; the same sweep again is safe. Or a metric is asked for,
        for which nobody waits.
    """
    objective = next((each.execution.objective for each in compiled if each.execution.objective), None)
    if objective is not None:
        what = f"The jobs of the sweep go to their target together, and nobody waits for their `{objective}`."
        raise fail(what, "Leave `objective` out, or submit each job by itself.", key="objective")
    registry = Registry()
    known: dict[str, Receipt] = {}
    waiting: list[Compiled] = []
    for each in {each.run_id: each for each in compiled}.values():
        write(each)
        registry.announce(Event(kind="compiled", run_dir=str(each.run_dir)))
        receipt = before(replace(launch_of(each), detach=True), registry, console)
        if receipt is None:
            waiting.append(each)
        else:
            known[each.run_id] = receipt
    if waiting:
        known |= _submitted(waiting, registry, console)
    for point, each in zip(points, compiled, strict=True):
        receipt = known[each.run_id]
        console.say(f"{each.run_id}: {remote.state(receipt)}")
        console.result({**receipts.as_json(receipt), "run_dir": str(each.run_dir), "overrides": list(point.overrides)})


def _submitted(waiting: Sequence[Compiled], registry: Registry, console: Console) -> dict[str, Receipt]:
    resume = {each.run_dir: each.execution.resume for each in waiting}
    for each in waiting:
        registry.announce(Event(kind="started", run_dir=str(each.run_dir)))
    with view(quiet=console.as_json) as shown:
        received = submit_together(
            {each.run_dir: each.manifest for each in waiting},
            env=lambda run_dir: environment(run_dir, resume[run_dir]),
            observer=Careful(shown),
            backend=registry.backend(waiting[0].manifest.backend),
        )
    for run_dir, receipt in received.items():
        if receipt.state is not State.RUNNING:
            registry.announce(Event(kind="ended", run_dir=str(run_dir), receipt=receipt))
    return {each.run_id: received[each.run_dir] for each in waiting}
