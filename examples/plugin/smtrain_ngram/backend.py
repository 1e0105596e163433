"""The backend `nice`: the launch script that every script backend writes, run at low priority."""

from __future__ import annotations

import shlex
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
    shell,
)

BINDINGS = """\
SMTRAIN_BUNDLE=$(cd -- "$(dirname -- "${{BASH_SOURCE[0]}}")" && pwd)
SMTRAIN_RUN_DIR=${{SMTRAIN_BUNDLE%/*}}
SMTRAIN_BASE=${{SMTRAIN_BASE:-$PWD}}
SMTRAIN_RESUME=${{SMTRAIN_RESUME:-auto}}
SMTRAIN_WORK=$SMTRAIN_RUN_DIR/work
SMTRAIN_OUTPUT_DIR=$SMTRAIN_RUN_DIR/output
SMTRAIN_PYTHON=${{SMTRAIN_PYTHON:-python3}}
SMTRAIN_MASTER_PORT=$("$SMTRAIN_PYTHON" -c 'import socket; print(socket.create_server(("", 0)).getsockname()[1])')
SMTRAIN_MASTER_ADDR=127.0.0.1 SMTRAIN_NODE_RANK=0 SMTRAIN_NUM_NODES=1 SMTRAIN_PROCS_PER_NODE={processes}
SMTRAIN_MODEL_DIR=$SMTRAIN_OUTPUT_DIR/model SMTRAIN_CHECKPOINT_DIR=$SMTRAIN_OUTPUT_DIR/checkpoints
SMTRAIN_SCRATCH_DIR=$SMTRAIN_RUN_DIR/scratch
export SMTRAIN_MASTER_ADDR SMTRAIN_MASTER_PORT SMTRAIN_NODE_RANK SMTRAIN_NUM_NODES SMTRAIN_PROCS_PER_NODE \\
  SMTRAIN_MODEL_DIR SMTRAIN_CHECKPOINT_DIR SMTRAIN_SCRATCH_DIR"""
"""A value for all of `launch_script.CONTRACT` and every `RuntimeVar`; the kit finds one that is forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NiceOptions:
    """How far to give way."""

    level: Annotated[int, Meta(ge=0, le=19, description="Niceness: 19 runs only when nothing else wants to.")] = 10


class Nice:
    """Runs a program on this machine at low priority."""

    def check(self, job: Job, program: Program, options: NiceOptions) -> Iterable[Problem]:
        """Yields what this machine cannot do for the program."""
        del options
        yield from launch_script.problems(program)
        if job.topology.nodes > 1:
            yield Problem(key="compute.nodes", what="This machine is one node.", fix="Set compute.nodes=1.")
        if job.run.storage.output is not None:
            what = "Results stay in the run's folder."
            yield Problem(key="storage.output", what=what, fix="Leave it out, or choose backend=local.")
        for item in program.inputs:
            if item.staging is Staging.COPY:
                yield Problem(key="backend", what=f"Nothing copies {item.uri} to this machine.", fix="Copy it first.")
        for name in job.run.secrets:
            if not shell.can_be_set(name):
                yield Problem(key=f"secrets.{name}", what="Not the name of an environment variable.", fix="Rename it.")

    def lower(self, job: Job, program: Program, options: NiceOptions) -> Bundle:
        """Returns the bundle: the launch script, the program's files, and the inputs that travel."""
        bindings = (BINDINGS.format(processes=job.topology.processes_per_node), *_inputs(program), *_secrets(job))
        script = launch_script.render(program, bindings="\n".join(bindings))
        return Bundle(
            name=job.run.name,
            backend=job.run.backend.name,
            trainer=job.run.trainer.name,
            files=(
                BundleFile(path="launch.sh", content=script.encode(), executable=True),
                *(BundleFile(path=f"program/{file.path}", content=file.text.encode()) for file in program.files),
                *(BundleFile(path=f"library/{file.path}", content=file.text.encode()) for file in program.library),
                *(
                    BundleFile(path=_place(item, file.path), content=file)
                    for item in program.inputs
                    if item.staging is Staging.BUNDLED
                    for file in item.files
                ),
            ),
            actions=(Exec(argv=("nice", "-n", str(options.level), "bash", "launch.sh"), workload=True),),
            progress=program.progress,
        )

    def status(self, run_dir: Path, receipt: Receipt) -> Receipt:
        """Returns the receipt as it is now."""
        return runs.current(run_dir, receipt)

    def logs(self, run_dir: Path, receipt: Receipt, *, follow: bool) -> Iterator[LogLine]:
        """Yields the output line by line."""
        del receipt
        return runs.log_lines(run_dir, follow=follow)

    def stop(self, run_dir: Path, receipt: Receipt) -> Receipt:
        """Ends the run, giving it time to save."""
        return runs.stop(run_dir, receipt)


def _place(item: Input, file: Path) -> str:
    return f"inputs/{item.name}/{file.name}"


def _inputs(program: Program) -> Iterator[str]:
    for item in program.inputs:
        if item.staging is Staging.IN_PLACE:
            yield launch_script.in_place(item)
        else:
            place = _place(item, item.files[0].path) if len(item.files) == 1 else f"inputs/{item.name}"
            yield f'{shell.input_variable(item.name)}="$SMTRAIN_BUNDLE"/{shlex.quote(place)}'


def _secrets(job: Job) -> Iterator[str]:
    """Yields references to the submitter's environment; a value is never written down."""
    for name, reference in sorted(job.run.secrets.items()):
        yield f'export {name}="${{{reference.removeprefix("env:")}:?the secret {name} is not set}}"'
