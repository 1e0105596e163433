"""How each input of a program comes to the hosts: in a channel, copied by the agent, or there already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from smtrain.plugin import Input, Job, ModelSource, Problem, Program, Staging, bucket_names, target_paths
from smtrain.plugin import suggest as suggestions
from smtrain_trainingjob.options import Channel, TrainingJobOptions
from smtrain_trainingjob.request_keys import INPUTS

OURS = ("program", "agent", "library", "source", "wheels")
"""Channels of smtrain's own."""


def copied(program: Program, options: TrainingJobOptions) -> tuple[Input, ...]:
    """Returns the inputs that the agent copies from S3."""
    return tuple(item for item in program.inputs if item.staging is Staging.COPY and _way(item, options) == "copy")


def in_channels(program: Program, options: TrainingJobOptions) -> Mapping[str, Channel]:
    """Returns the inputs in S3 that a channel brings, by name."""
    return {
        item.name: Channel(uri=_prefix(item.uri), mode="FastFile" if _way(item, options) == "FastFile" else None)
        for item in program.inputs
        if item.staging is Staging.COPY and _way(item, options) != "copy"
    }


def problems(program: Program, options: TrainingJobOptions) -> Iterator[Problem]:
    """Yields what cannot be brought to the hosts, and what is said of inputs that are none."""
    names = {item.name for item in program.inputs if item.staging is Staging.COPY}
    for name in sorted(set(options.inputs) - names):
        what = f"The program has no input `{name}` in S3."
        fix = suggestions.did_you_mean(name, names) if names else "Leave it out."
        yield Problem(key=f"backend.inputs.{name}", what=what, fix=fix)
    for item in program.inputs:
        if item.staging is Staging.IN_PLACE and not target_paths.is_on_target(item.uri):
            yield _here_alone(item)
        elif item.staging is Staging.COPY and (fault := bucket_names.fault(item.uri)):
            yield Problem(key=_key(item), what=fault, fix=bucket_names.RULE)
    taken = {*OURS, *(item.name for item in program.inputs if item.staging is not Staging.IN_PLACE)}
    for section, given in (("channels", options.channels), ("file_systems", options.file_systems)):
        for name in sorted(set(given) & taken):
            what = f"smtrain itself has a channel `{name}` in this run."
            yield Problem(key=f"backend.{section}.{name}", what=what, fix="Choose another name.")
        taken |= set(given)


def calls_out(job: Job, program: Program, options: TrainingJobOptions) -> str:
    """Returns what in the container needs the network, in words; "" when nothing does."""
    reasons = [f"copying `{item.name}` from S3" for item in copied(program, options)]
    reasons += [f"the secret `{name}`" for name, reference in job.run.secrets.items() if reference[:4] != "env:"]
    if job.model.source is ModelSource.HUB:
        reasons.append("downloading the model from the hub")
    if options.install.requirements and options.install.wheels is None:
        reasons.append("installing backend.install.requirements")
    return ", ".join(reasons)


def _prefix(uri: str) -> str:
    # A channel takes every key that begins so: without its slash, models/a would bring models/ab as well.
    uri = uri.removesuffix("*")
    return uri if uri.endswith("/") or PurePosixPath(uri).suffix else f"{uri}/"


def _way(item: Input, options: TrainingJobOptions) -> str:
    # A container without a network gets everything from SageMaker.
    return options.inputs.get(item.name, "File" if options.network_isolation else "copy")


def _here_alone(item: Input) -> Problem:
    key = _key(item)
    what = f"Input `{item.name}` is the folder `{item.uri}` of this machine, which the hosts do not have."
    fix = (
        f"Put it into S3 (s5cmd cp '{item.uri.rstrip('/')}/*' s3://BUCKET/PREFIX/) and name that: {key}=s3://BUCKET/PREFIX\n"
        "Or, if the hosts have it, on a file system for instance: target:/absolute/path"
    )
    return Problem(key=key, what=what, fix=fix)


def _key(item: Input) -> str:
    return INPUTS.get(item.name, "data.path" if item.name.startswith("data") else "backend.inputs")
