"""What a program must be for the nodes of a Slurm cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from smtrain.plugin import Input, Job, Problem, Program, Staging, target_paths, warning
from smtrain_hyperpod.slurm import contents, parts
from smtrain_hyperpod.slurm.options import SlurmOptions
from smtrain_hyperpod.slurm.rules import interval_rules

_KEYS = {"model": "model.path", "adapter": "model.adapter"}


def problems(job: Job, program: Program, options: SlurmOptions) -> Iterator[Problem]:
    """Yields every reason why the nodes could not run this program."""
    for item in program.inputs:
        if item.staging is Staging.IN_PLACE:
            yield from _in_place(item, options)
        yield from _doubles(item)
    yield from contents.sources(options)[1]
    yield from contents.wheels(options)[1]
    yield from _checkpoints(job, program, options)
    yield from interval_rules.problems(job, program, options)
    yield from parts.problems(job, program, options)


def _in_place(item: Input, options: SlurmOptions) -> Iterator[Problem]:
    """Whoever submits on the login node means a path of the cluster, when it is a full one."""
    if target_paths.is_on_target(item.uri) or "://" in item.uri:
        return
    key = _key(item)
    if options.login is not None:
        what = f"Input `{item.name}` is the folder `{item.uri}` of this machine, which the nodes do not have."
        fix = f"Copy it there, and name it as it is there: {key}=target:/PATH; or put it into S3: {key}=s3://BUCKET/PREFIX"
        yield Problem(key=key, what=what, fix=fix)
    elif not item.uri.startswith("/"):
        what = f"Input `{item.name}` is at `{item.uri}`, and the nodes start elsewhere."
        yield Problem(key=key, what=what, fix="Write its full path, on the file system that the nodes share.")


def _doubles(item: Input) -> Iterator[Problem]:
    for name, count in Counter(file.path.name for file in item.files).items():
        if count > 1:
            what = f"Input `{item.name}` has {count} files of the name {name!r}, to lie in one folder."
            yield Problem(key="data", what=what, fix="Rename them.")


def _checkpoints(job: Job, program: Program, options: SlurmOptions) -> Iterator[Problem]:
    to_s3 = (job.run.storage.output or "").startswith("s3://")
    makes_some = any(output.checkpoint_glob for output in program.outputs)
    if to_s3 and makes_some and not options.checkpoints.upload and options.requeue.on_failed_node:
        what = (
            "Checkpoints are on the nodes' own disks alone: a job that is requeued to others starts from the beginning."
        )
        yield warning("backend.checkpoints.upload", what, "Let them be uploaded, or keep results on the shared folder.")


def _key(item: Input) -> str:
    return _KEYS.get(item.name, "data.path" if item.name.startswith("data") else "backend")
