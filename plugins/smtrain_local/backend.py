"""The backend `local`: the bundle is a launch script, its program and its inputs; running it is running the script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from smtrain.plugin import (
    Bundle,
    BundleFile,
    Exec,
    Input,
    Job,
    LogLine,
    Problem,
    Program,
    Receipt,
    Staging,
    launch_script,
    runs,
    warning,
)
from smtrain_local import bindings


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOptions:
    """How to run on this machine."""

    python: Annotated[
        str | None,
        Meta(description="Interpreter of the trainer's environment; None takes the one that runs smtrain."),
    ] = None
    grace_s: Annotated[
        int, Meta(ge=0, description="Seconds that a run has to save between being asked to end and being killed.")
    ] = 60
    gpus: Annotated[
        tuple[Annotated[int, Meta(ge=0)], ...] | None,
        Meta(description="GPUs that may be used, by nvidia-smi's index; None allows all."),
    ] = None


class LocalBackend:
    """Runs a program on this machine, and looks after it."""

    def check(self, job: Job, program: Program, options: LocalOptions) -> Iterable[Problem]:
        """Yields every reason why this machine cannot run the program."""
        yield from launch_script.problems(program)
        yield from _placement(job, options)
        yield from _inputs(program)
        yield from _secrets(job)

    def lower(self, job: Job, program: Program, options: LocalOptions) -> Bundle:
        """Returns the bundle: `launch.sh`, `program/`, `library/` and `inputs/`."""
        own = bindings.render(job, program, python=options.python, gpus=options.gpus, grace_s=options.grace_s)
        script = launch_script.render(program, bindings=own)
        return Bundle(
            name=job.run.name,
            backend=job.run.backend.name,
            trainer=job.run.trainer.name,
            files=(
                BundleFile(path="launch.sh", content=script.encode(), executable=True),
                *(BundleFile(path=f"program/{file.path}", content=file.text.encode()) for file in program.files),
                *(BundleFile(path=f"library/{file.path}", content=file.text.encode()) for file in program.library),
                *(file for item in program.inputs for file in _bundled(item)),
            ),
            actions=(Exec(argv=("bash", "launch.sh"), workload=True),),
            progress=program.progress,
            warnings=job.warnings,
        )

    def status(self, run_dir: Path, receipt: Receipt) -> Receipt:
        """Returns the receipt as it is now."""
        return runs.current(run_dir, receipt)

    def logs(self, run_dir: Path, receipt: Receipt, *, follow: bool) -> Iterator[LogLine]:
        """Yields the workload's output line by line; with `follow`, until it ends."""
        del receipt
        return runs.log_lines(run_dir, follow=follow)

    def stop(self, run_dir: Path, receipt: Receipt) -> Receipt:
        """Ends the run, giving it time to save."""
        return runs.stop(run_dir, receipt)


def _placement(job: Job, options: LocalOptions) -> Iterator[Problem]:
    if job.run.launcher.kind == "deepspeed" and job.topology.accelerator != "cpu":
        yield warning(
            "launcher.kind",
            "DeepSpeed's launcher takes the GPUs from 0 on, whatever other runs of this machine hold.",
            "Say launcher=torchrun if several runs share the machine.",
        )
    if job.topology.nodes > 1:
        yield Problem(
            key="compute.nodes",
            what=f"This machine is one node, not {job.topology.nodes}.",
            fix="Set compute.nodes=1, or choose a backend with more machines.",
        )
    output = job.run.storage.output
    if output is not None and "://" in output:
        yield Problem(
            key="storage.output",
            what=f"The local backend keeps results in folders, not at {output}.",
            fix="Name a folder, or leave storage.output out to keep them in the run's own folder.",
        )
    wanted = job.topology.processes_per_node
    if options.gpus is not None and job.topology.accelerator != "cpu" and len(set(options.gpus)) < wanted:
        yield Problem(
            key="backend.gpus",
            what=f"{len(set(options.gpus))} GPUs are allowed, but the run has {wanted} processes, each with its own.",
            fix=f"Allow {wanted} GPUs, or lower compute.processes_per_node.",
        )


def _inputs(program: Program) -> Iterator[Problem]:
    for item in program.inputs:
        if item.staging is Staging.COPY or (item.staging is Staging.IN_PLACE and "://" in item.uri):
            yield Problem(
                key="backend",
                what=f"Input `{item.name}` is at {item.uri}; the local backend copies nothing to this machine.",
                fix="Copy it to a folder (aws s3 sync, s5cmd) and name the folder.",
            )
        for name, count in Counter(file.path.name for file in item.files).items():
            if count > 1:
                yield Problem(
                    key="data",
                    what=f"Input `{item.name}` has {count} files of the name {name!r}, to lie in one folder.",
                    fix="Rename them.",
                )


def _secrets(job: Job) -> Iterator[Problem]:
    for name, reference in job.run.secrets.items():
        if bindings.secret_source(reference) is None:
            yield Problem(
                key=f"secrets.{name}",
                what=f"The local backend cannot look up the secret {reference!r}.",
                fix="Name an environment variable of the submitting shell: env:NAME.",
            )


def _bundled(item: Input) -> Iterator[BundleFile]:
    if item.staging is Staging.BUNDLED:
        for file in item.files:
            yield BundleFile(path=f"inputs/{item.name}/{file.path.name}", content=file)
