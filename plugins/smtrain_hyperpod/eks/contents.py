"""What travels with a job: launch scripts, the agent, the trainer's own sources, rows and the user's code.

Rows and code go to S3, under a digest of their content, where there is a place for them; the agent stages them. Without
one they come in ConfigMaps like the rest, as far as those hold them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from smtrain.plugin import (
    BundleFile,
    ContentSet,
    Input,
    Job,
    Problem,
    Program,
    Staging,
    Upload,
    agent_document,
    agent_files,
    source_files,
)
from smtrain_hyperpod.eks import archive, config_maps, launch, layout, machine
from smtrain_hyperpod.eks.config_maps import ConfigMap
from smtrain_hyperpod.eks.operator import Operator
from smtrain_hyperpod.eks.options import EksOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What travels, and what is wrong with it.

    Attributes:
      maps: ConfigMaps, those of the run alone first.
      uploads: to S3, before anything else.
      uploaded: files of those, in the bundle.
      problems: what does not fit, or cannot be read.
    """

    maps: tuple[ConfigMap, ...]
    uploads: tuple[Upload, ...]
    uploaded: tuple[BundleFile, ...]
    problems: tuple[Problem, ...]

    @property
    def files(self) -> tuple[BundleFile, ...]:
        """All files of the bundle that travel."""
        return (*(entry.file for each in self.maps for entry in each.entries), *self.uploaded)


def contents(job: Job, program: Program, options: EksOptions, operator: Operator) -> Contents:
    """Returns what travels with a job."""
    source, problems = _source(options)
    parcels = {layout.INPUTS: tuple(_rows(program)), layout.SOURCE: source}
    parcels = {name: files for name, files in parcels.items() if files}
    store = store_uri(job, options)
    packed = () if store else tuple(parcels)
    sets = [ContentSet(channel=name, folder=name, files=files) for name, files in parcels.items() if store]
    archives = {layout.AGENT: _agent(), layout.LIBRARY: _library(program)}
    archives |= {name: parcels[name] for name in packed}
    too_large = tuple(_too_large(archives))
    names = tuple(name for name, files in archives.items() if files and name != layout.AGENT)
    own = (
        *operator.scripts(options),
        BundleFile(path="launch.sh", content=_launch(job, program, options, operator, names), executable=True),
        BundleFile(path="steps.sh", content=launch.steps_sh(program, options).encode(), executable=True),
        BundleFile(
            path="agent.json",
            content=_agent_json(job, _staged(program, {each.channel: each.uri(store) for each in sets}), options),
        ),
        *(BundleFile(path=f"program/{file.path}", content=file.text.encode()) for file in program.files),
    )
    return Contents(
        maps=(
            *config_maps.of_run(own),
            *(each for name, files in archives.items() if files and not too_large for each in _maps(name, files)),
        ),
        uploads=tuple(each.upload(store, region=options.region or "", kms_key="") for each in sets),
        uploaded=tuple(file for each in sets for file in each.files),
        problems=(*problems, *too_large, *_large_files(own)),
    )


def store_uri(job: Job, options: EksOptions) -> str:
    """Returns the s3:// URI under which rows and code are kept, without a slash at its end; "" when there is none."""
    output = (job.run.storage.output or "").rstrip("/")
    return (options.store or (f"{output}/store" if output.startswith("s3://") else "")).rstrip("/")


def _launch(job: Job, program: Program, options: EksOptions, operator: Operator, packed: tuple[str, ...]) -> bytes:
    efa = machine.efa(job, options) > 0
    return launch.launch_sh(job, program, options, node=operator.node, efa=efa, packed=packed).encode()


def _agent_json(job: Job, program: Program, options: EksOptions) -> bytes:
    by_reference = {name: f"env:{name}" for name in options.secrets}
    return agent_document.document(
        program,
        # Those that Kubernetes puts into the environment are told to the agent, too, which keeps them out of messages.
        secrets={**by_reference, **job.run.secrets},
        install=agent_document.InstallOptions(
            enabled=options.install.mode == "auto", index_url=options.install.index_url or ""
        ),
        upload=agent_document.UploadOptions(
            interval_s=options.checkpoints.interval_s,
            checkpoints=options.checkpoints.upload,
            keep_checkpoints=options.checkpoints.keep,
        ),
        control=agent_document.ControlOptions(),
        files=tuple(item.name for item in program.inputs if len(item.files) == 1),
    )


def _staged(program: Program, uris: dict[str, str]) -> Program:
    """Returns the program as the agent is to see it: what was uploaded is copied, like any input in S3."""
    inputs = [
        replace(item, staging=Staging.COPY, uri=f"{uris[layout.INPUTS]}{_key(item)}")
        if item.staging is Staging.BUNDLED and layout.INPUTS in uris
        else item
        for item in program.inputs
    ]
    if layout.SOURCE in uris:
        inputs.append(Input(name=layout.SOURCE_INPUT, uri=uris[layout.SOURCE], staging=Staging.COPY, path="source"))
    return replace(program, inputs=tuple(inputs))


def _key(item: Input) -> str:
    return f"{item.name}/{item.files[0].path.name}" if len(item.files) == 1 else f"{item.name}/"


def _agent() -> tuple[BundleFile, ...]:
    return agent_files.agent_files(layout.AGENT)


def _library(program: Program) -> tuple[BundleFile, ...]:
    return tuple(
        BundleFile(path=f"{layout.LIBRARY}/{file.path}", content=file.text.encode()) for file in program.library
    )


def _rows(program: Program) -> Iterator[BundleFile]:
    for item in program.inputs:
        if item.staging is Staging.BUNDLED:
            for file in item.files:
                yield BundleFile(path=f"{layout.INPUTS}/{item.name}/{file.path.name}", content=file)


def _source(options: EksOptions) -> tuple[tuple[BundleFile, ...], tuple[Problem, ...]]:
    if options.source_dir is None or not options.source_dir.strip():
        return (), ()
    return source_files.source_files(Path(options.source_dir).expanduser(), prefix=layout.SOURCE)


def _maps(name: str, files: tuple[BundleFile, ...]) -> tuple[ConfigMap, ...]:
    return config_maps.of_archive(name, archive.archive(files, folder=name))


def _too_large(archives: dict[str, tuple[BundleFile, ...]]) -> Iterator[Problem]:
    most = config_maps.LARGEST * config_maps.MOST_PIECES
    for name, files in archives.items():
        size = sum(map(archive.size, files))
        if size > most:
            key = {layout.INPUTS: "data.path", layout.SOURCE: "backend.source_dir"}.get(name, "trainer")
            what = f"{size / 1e6:.1f} MB of {name} would travel in ConfigMaps, which are to hold {most / 1e6:.1f} MB."
            fix = "Keep them in S3 (backend.store=s3://BUCKET/PREFIX), or name a folder of a volume: target:/…"
            yield Problem(key=key, what=what, fix=fix)


def _large_files(files: tuple[BundleFile, ...]) -> Iterator[Problem]:
    for file in files:
        if archive.size(file) > config_maps.LARGEST:
            size, most = archive.size(file), config_maps.LARGEST
            what = f"The program's file `{file.path}` has {size} bytes; a ConfigMap is to hold {most}."
            yield Problem(key="trainer", what=what, fix="This is a fault of the trainer's plugin; report it.")
