"""`smtrain rehearse`: the bundle that would be sent, shortened, executed here as its target would."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from smtrain import receipts
from smtrain.command_line import CommandLine
from smtrain.console import Console
from smtrain.console_view import view
from smtrain.errors import ExitCode, fail
from smtrain.interfaces import Shortens
from smtrain.passes.emit import emit
from smtrain.pipeline import STORE, Compiled, compile_run, write
from smtrain.registry import Registry
from smtrain.remote_interfaces import Rehearsal, Rehearses
from smtrain.spec import Job, Receipt, State
from smtrain.verbs import remote
from smtrain.verbs.diff import changes
from smtrain.verbs.launch import environment

FOLDER = ".rehearsals"
"""Folder beside the runs that holds their rehearsals."""

MOST_PROCESSES = 2
"""Processes of a host on a machine without a GPU: enough to talk to one another, and few enough for its memory."""


def rehearse(line: CommandLine, console: Console) -> ExitCode:
    """Compiles the run, and executes a few steps of it on this machine; nothing is sent."""
    registry = Registry()
    compiled = compile_run(line.composable, registry)
    name = compiled.job.run.backend.name
    backend = registry.backend(name)
    if not isinstance(backend, Rehearses):
        what = f"The backend `{name}` cannot be rehearsed: it has no target but this machine, or no picture of it."
        raise fail(what, "Choose another, e.g. backend=trainingjob, or launch a short run.", key="backend.name")
    rehearsal = Rehearsal(
        inputs=dict(_inputs(line.options.input)), timeout_s=line.options.timeout, docker=line.options.docker
    )
    on_cpu = compiled.job.topology.accelerator != "cpu" and not _has_gpu()
    extra = (
        *_shorter(compiled, registry, steps=line.options.steps, on_cpu=on_cpu),
        *(_without_gpus(compiled.job) if on_cpu else ()),
    )
    request = replace(line.composable, overrides=(*line.composable.overrides, *extra))
    short = compile_run(request, registry)
    write(compiled)
    run_dir = _write(short)
    console.problems(compiled.warnings)
    console.say(f"{compiled.run_id}: rehearsed as {run_dir.name}")
    if on_cpu:
        console.say("This machine has no GPU: the processes compute on its CPUs.")
    console.rows(_differences(compiled, short, extra))
    with view(quiet=console.as_json) as observer:
        receipt = backend.rehearse(run_dir, rehearsal, env=environment(run_dir, "never"), observer=observer)
    return _ended(compiled, run_dir, receipt, console)


def _inputs(words: list[str]) -> Iterator[tuple[str, Path]]:
    for word in words:
        name, equals, path = word.partition("=")
        if not (name and equals and path):
            raise fail(what=f"`--input {word}` names no input.", fix="Write --input NAME=PATH.")
        if not Path(path).expanduser().exists():
            what = f"There is no `{path}`, to stand in for the input `{name}`."
            raise fail(what=what, fix="Name a file or folder; relative paths start at the current folder.")
        yield name, Path(path).expanduser().resolve()


def _shorter(compiled: Compiled, registry: Registry, *, steps: int, on_cpu: bool) -> tuple[str, ...]:
    """Returns the overrides that make the training end after so many steps; none where the trainer knows no such."""
    selected = compiled.job.run.trainer
    trainer = registry.trainer(selected.name)
    if not isinstance(trainer, Shortens):
        return ()
    with registry.blaming(registry.trainers[selected.name]):
        return trainer.shortened(compiled.job, selected.options, steps=steps, on_cpu=on_cpu)


def _without_gpus(job: Job) -> tuple[str, ...]:
    """Returns the overrides that let a run for GPUs go on a machine that has none."""
    processes = min(job.topology.processes_per_node, MOST_PROCESSES)
    overrides = (
        "compute.accelerator=cpu",
        "compute.gpus_per_node=null",
        f"compute.processes_per_node={processes}",
    )
    # With fewer processes another global size follows from the other two.
    return overrides if processes == job.topology.processes_per_node else (*overrides, "global_batch_size=null")


def _has_gpu() -> bool:
    program = shutil.which("nvidia-smi")
    if program is None or os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return False
    listed = subprocess.run((program, "-L"), capture_output=True, text=True, check=False)
    return listed.returncode == 0 and bool(listed.stdout.strip())


def _write(short: Compiled) -> Path:
    """Writes the bundle into a folder of its own, without what an earlier rehearsal left."""
    parent = Path(short.execution.runs_dir)
    run_dir = parent / FOLDER / short.run_id
    shutil.rmtree(run_dir, ignore_errors=True)
    emit(short.bundle, short.manifest, run_dir / "bundle", store=parent / STORE)
    return run_dir


def _differences(compiled: Compiled, short: Compiled, extra: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    yield from (("with", override) for override in extra)
    for kind, path in changes(compiled.manifest, short.manifest):
        yield "differs", f"{kind} {path}"


def _ended(compiled: Compiled, run_dir: Path, receipt: Receipt, console: Console) -> ExitCode:
    console.rows([("rehearsal", remote.state(receipt)), ("kept in", str(run_dir))])
    if receipt.state is State.SUCCEEDED:
        console.rows([("launch", f"smtrain submit {compiled.run_dir}")])
    console.result({**receipts.as_json(receipt), "run_dir": str(run_dir), "rehearsal_of": compiled.run_id})
    codes = {State.SUCCEEDED: ExitCode.DONE, State.STOPPED: ExitCode.INTERRUPTED}
    return codes.get(receipt.state, ExitCode.WORKLOAD_FAILED)
