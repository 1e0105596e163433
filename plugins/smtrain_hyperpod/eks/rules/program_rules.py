"""What a program must be for pods: its inputs are in S3, travel along, or are on a volume."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from smtrain.plugin import Input, Job, Problem, Program, Staging, bucket_names, target_paths, warning
from smtrain_hyperpod.eks import layout
from smtrain_hyperpod.eks.options import EksOptions
from smtrain_hyperpod.eks.rules import volume_rules

_KEYS: Mapping[str, str] = {"model": "model.path", "adapter": "model.adapter"}
"""Input of a program → the key that names it."""


def problems(job: Job, program: Program, options: EksOptions) -> Iterator[Problem]:
    """Yields every reason why the pods could not run this program."""
    for item in program.inputs:
        key = _KEYS.get(item.name, "data.path" if item.name.startswith("data") else "trainer")
        if item.staging is Staging.IN_PLACE:
            yield from _in_place(item, key, options)
        elif item.staging is Staging.COPY and (fault := bucket_names.fault(item.uri)):
            yield Problem(key=key, what=fault, fix=bucket_names.RULE)
    if options.source_dir is not None and any(item.name == layout.SOURCE_INPUT for item in program.inputs):
        what = f"The program itself has an input `{layout.SOURCE_INPUT}`."
        yield Problem(key="backend.source_dir", what=what, fix="Leave it out, and put the code into the image.")
    yield from _packages(program, options)
    yield from _no_credentials(job, program, options)


def _in_place(item: Input, key: str, options: EksOptions) -> Iterator[Problem]:
    if not target_paths.is_on_target(item.uri):
        what = f"Input `{item.name}` is the folder `{item.uri}` of this machine, which the pods do not have."
        fix = (
            f"Put it into S3 (s5cmd cp '{item.uri.rstrip('/')}/*' s3://BUCKET/PREFIX/) and name that: "
            f"{key}=s3://BUCKET/PREFIX\nOr, if it is on a volume: target:/absolute/path"
        )
        yield Problem(key=key, what=what, fix=fix)
    elif volume_rules.volume_of(target_paths.path_there(item.uri), options) is None:
        what = f"No volume is mounted at `{target_paths.path_there(item.uri)}`, so the image itself must have it."
        yield warning(key, what, "Mount one: backend.volumes.fsx={path: /fsx, claim: CLAIM}.")


def _packages(program: Program, options: EksOptions) -> Iterator[Problem]:
    if options.install.mode == "never" and program.needs.packages:
        names = ", ".join(f"{package.name}{package.specifier}" for package in program.needs.packages)
        what = f"Nothing is installed, so the image must have {names}."
        yield warning("backend.install.mode", what, "Set it to auto, unless that is so.")


def _no_credentials(job: Job, program: Program, options: EksOptions) -> Iterator[Problem]:
    uris = [item.uri for item in program.inputs if item.staging is Staging.COPY]
    uris += [job.run.storage.output or "", options.store or ""]
    if options.service_account is None and any(uri.startswith("s3://") for uri in uris):
        what = "The pods read and write S3 with whatever role the namespace's default service account or the node has."
        yield warning("backend.service_account", what, "Name one that has a role: EKS Pod Identity, or IRSA.")
