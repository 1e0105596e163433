"""`smtrain run` and `smtrain submit`: compile and launch, and launch what was compiled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from smtrain import actions, costs, plan, receipts, run_folders
from smtrain.command_line import CommandLine
from smtrain.console import Console
from smtrain.errors import ExitCode
from smtrain.hookspecs import Event
from smtrain.manifest import Manifest, read
from smtrain.passes.compose import Request
from smtrain.pipeline import Compiled, compile_run, write
from smtrain.registry import Registry
from smtrain.spec import Cost, Receipt, State
from smtrain.verbs import confirm, remote
from smtrain.verbs.launch import Launch, Launched, before, go, launch_of


def run(line: CommandLine, console: Console) -> ExitCode:
    """Compiles and launches."""
    registry = Registry()
    compiled = compile_and_write(line.composable, registry)
    launch = launch_of(compiled, detach=line.options.detach)
    receipt = before(launch, registry, console)
    if receipt is None:
        announce(compiled, console)
        rows = (row for row in plan.facts(compiled) if row[0] != "cost")
        if not confirm.may_launch(line.options, console, spent=_spent(compiled.manifest), rows=rows):
            return ExitCode.INTERRUPTED
    return _ended(launch, go(launch, receipt, registry, console), console)


def compile_and_write(request: Request, registry: Registry) -> Compiled:
    """Compiles a run, and writes its bundle."""
    compiled = compile_run(request, registry)
    write(compiled)
    registry.announce(Event(kind="compiled", run_dir=str(compiled.run_dir)))
    return compiled


def announce(compiled: Compiled, console: Console) -> None:
    """Says what is going to be launched, and what there is to doubt about it."""
    console.problems(compiled.warnings)
    console.say(f"{compiled.run_id}: {compiled.job.run.trainer.name} on {compiled.job.run.backend.name}")


def submit(line: CommandLine, console: Console) -> ExitCode:
    """Launches a bundle that plan wrote."""
    run_dir = _run_dir(Path(line.options.dir))
    registry = Registry()
    launch = Launch(run_dir=run_dir, manifest=read(run_dir / "bundle"), detach=line.options.detach)
    receipt = before(launch, registry, console)
    if receipt is None:
        rows = _submission(run_dir, launch.manifest)
        if not confirm.may_launch(line.options, console, spent=_spent(launch.manifest), rows=rows):
            return ExitCode.INTERRUPTED
    return _ended(launch, go(launch, receipt, registry, console), console)


def _spent(manifest: Manifest) -> tuple[Cost, ...]:
    return (manifest.cost,) if manifest.cost is not None else ()


def _submission(run_dir: Path, manifest: Manifest) -> Iterator[tuple[str, str]]:
    yield "run", f"{run_dir.name} · {manifest.trainer} on {manifest.backend}"
    yield from (("then", actions.as_text(action)) for action in manifest.actions)


def _run_dir(folder: Path) -> Path:
    return folder.parent if folder.name == "bundle" and not (folder / "bundle").is_dir() else folder


def _ended(launch: Launch, launched: Launched, console: Console) -> ExitCode:
    run_dir, receipt = launch.run_dir, launched.receipt
    if not launched.left:
        console.rows(_results(launch, receipt))
    console.result({**receipts.as_json(receipt), "run_dir": str(run_dir), "outputs": dict(_outputs(run_dir))})
    if launched.left:
        return ExitCode.INTERRUPTED
    match receipt.state:
        case State.SUCCEEDED | State.RUNNING:
            return ExitCode.DONE
        case State.STOPPED:
            return ExitCode.INTERRUPTED
        case _:
            # Before its first step a launch script ends for one reason: something that it needs is not there.
            missing = not receipt.step and not launch.is_remote
            return ExitCode.MISSING_HERE if missing else ExitCode.WORKLOAD_FAILED


def _results(launch: Launch, receipt: Receipt) -> Iterator[tuple[str, str]]:
    yield "state", remote.state(receipt) if launch.is_remote else _state(receipt)
    if receipt.reason and not launch.is_remote:
        yield "reason", receipt.reason
    if receipt.job:
        yield "job", receipt.job
    if receipt.url:
        yield "page", receipt.url
    if receipt.usd is not None:
        yield "cost", costs.so_far(receipt)
    if launch.is_remote and receipt.state is State.RUNNING:
        yield "follow", f"smtrain logs {run_folders.spoken(launch.run_dir)} -f"
    elif launch.is_remote and receipt.state is State.SUCCEEDED:
        yield "fetch", f"smtrain fetch {run_folders.spoken(launch.run_dir)}"
    yield from _outputs(launch.run_dir)


def _state(receipt: Receipt) -> str:
    state = receipt.state.value
    if receipt.state is State.FAILED:
        step = f"step `{receipt.step}` ended" if receipt.step else "it ended before the first step,"
        state += f": {step} with exit code {receipt.exit_code}"
    return state


def _outputs(run_dir: Path) -> Iterator[tuple[str, str]]:
    places = {"results": "output", "loss": "loss.png", "metrics": "metrics.jsonl", "log": "logs/workload.log"}
    for name, place in {**places, "bundle": "bundle"}.items():
        if (run_dir / place).exists():
            yield name, str(run_dir / place)
