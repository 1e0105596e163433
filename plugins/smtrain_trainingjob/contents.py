"""What travels with a job: launch scripts, the agent, the trainer's own sources, rows, the user's code and wheels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from smtrain.plugin import (
    BundleFile,
    ContentSet,
    Input,
    Job,
    OutputKind,
    Problem,
    Program,
    Staging,
    agent_document,
    agent_files,
    instances,
    source_files,
)
from smtrain_trainingjob import inputs, launch, machine
from smtrain_trainingjob.options import TrainingJobOptions

REQUIREMENTS = "requirements.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """The sets of files, one channel each, and what is wrong with them."""

    sets: tuple[ContentSet, ...]
    problems: tuple[Problem, ...]

    @property
    def files(self) -> tuple[BundleFile, ...]:
        """All of them."""
        return tuple(file for each in self.sets for file in each.files)


def contents(job: Job, program: Program, options: TrainingJobOptions) -> Contents:
    """Returns what travels with a job."""
    source, problems = _source(options)
    wheels, more = _wheels(options)
    bundled = tuple(item for item in program.inputs if item.staging is Staging.BUNDLED)
    by_channel = {item.name: item.name for item in bundled}
    by_channel |= {name: name for name in inputs.in_channels(program, options)}
    machines = [instances.find(name) for name, _ in machine.types(job, options)]
    script = launch.launch_sh(
        job,
        program,
        options,
        channels=by_channel,
        efa=bool(machines) and all(known is not None and known.efa_interfaces > 0 for known in machines),
        source=bool(source),
        wheels=bool(wheels),
    )
    own = (
        BundleFile(path="launch.sh", content=script.encode(), executable=True),
        BundleFile(path="steps.sh", content=launch.steps_sh(program).encode(), executable=True),
        BundleFile(path="agent.json", content=_agent_json(job, program, options, wheels=bool(wheels))),
        *_requirements(options),
        *(BundleFile(path=f"program/{file.path}", content=file.text.encode()) for file in program.files),
    )
    library = (BundleFile(path=f"library/{file.path}", content=file.text.encode()) for file in program.library)
    sets = (
        ContentSet(channel="program", folder="", files=own),
        ContentSet(channel="agent", folder="agent", files=agent_files.agent_files("agent")),
        ContentSet(channel="library", folder="library", files=tuple(library)),
        *(ContentSet(channel=item.name, folder=f"inputs/{item.name}", files=tuple(_rows(item))) for item in bundled),
        ContentSet(channel="source", folder="source", files=source),
        ContentSet(channel="wheels", folder="wheels", files=wheels),
    )
    return Contents(sets=tuple(each for each in sets if each.files), problems=(*problems, *more))


def _agent_json(job: Job, program: Program, options: TrainingJobOptions, *, wheels: bool) -> bytes:
    model_dir = tuple(output.name for output in program.outputs if OutputKind.MODEL in output.kinds)
    return agent_document.document(
        replace(program, inputs=inputs.copied(program, options)),
        secrets=job.run.secrets,
        install=agent_document.InstallOptions(
            enabled=options.install.mode == "auto",
            requirements=REQUIREMENTS if options.install.requirements else "",
            index_url=options.install.index_url or "",
            wheels_dir="${SMTRAIN_WHEELS_DIR}" if wheels else "",
        ),
        upload=agent_document.UploadOptions(
            interval_s=options.checkpoints.interval_s,
            checkpoints=options.checkpoints.upload,
            keep_checkpoints=options.checkpoints.keep,
            model_dir=model_dir if options.model_dir else (),
        ),
        control=agent_document.ControlOptions(),
    )


def _requirements(options: TrainingJobOptions) -> Iterator[BundleFile]:
    if options.install.requirements:
        yield BundleFile(
            path=REQUIREMENTS, content="".join(f"{line}\n" for line in options.install.requirements).encode()
        )


def _rows(item: Input) -> Iterator[BundleFile]:
    for file in item.files:
        yield BundleFile(path=f"inputs/{item.name}/{file.path.name}", content=file)


def _source(options: TrainingJobOptions) -> tuple[tuple[BundleFile, ...], tuple[Problem, ...]]:
    if options.source_dir is None:
        return (), ()
    return source_files.source_files(Path(options.source_dir).expanduser(), prefix="source")


def _wheels(options: TrainingJobOptions) -> tuple[tuple[BundleFile, ...], tuple[Problem, ...]]:
    if options.install.wheels is None:
        return (), ()
    folder = Path(options.install.wheels).expanduser()
    found = sorted(folder.glob("*.whl"))
    if not found:
        what = f"There are no wheels in `{options.install.wheels}`."
        fix = f"Make them: pip download --dest {options.install.wheels} PACKAGE…"
        return (), (Problem(key="backend.install.wheels", what=what, fix=fix),)
    return tuple(BundleFile(path=f"wheels/{path.name}", content=source_files.local_file(path)) for path in found), ()
