"""Where things lie in the pods: volumes, scratch, and results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from smtrain.plugin import Job, Problem, bucket_names, warning
from smtrain_hyperpod.eks import layout, names
from smtrain_hyperpod.eks.options import EksOptions, Volume

_TAKEN = (layout.BUNDLE, "/dev", "/proc", "/sys", "/etc/hosts")
"""What is ours, or the container's own."""


def problems(job: Job, options: EksOptions) -> Iterator[Problem]:
    """Yields what cannot be mounted, and results that would not be kept."""
    for name, volume in options.volumes.items():
        yield from _volume(name, volume)
    yield from _scratch(options)
    yield from _overlaps(options)
    yield from _output(job, options)
    yield from _restarts(job, options)


def volume_of(path: str, options: EksOptions) -> str | None:
    """Returns the name of the volume that a path of the pods lies on; None when it is on none."""
    found = [
        (len(volume.path), name)
        for name, volume in options.volumes.items()
        if PurePosixPath(path).is_relative_to(PurePosixPath(volume.path))
    ]
    return max(found)[1] if found else None


def is_plain(path: str) -> bool:
    """Whether a path is one that can be mounted: absolute, without `..`, `:` and what cannot be seen."""
    return path.startswith("/") and path.isprintable() and ".." not in path.split("/") and ":" not in path


def _volume(name: str, volume: Volume) -> Iterator[Problem]:
    key = f"backend.volumes.{name}"
    if not names.is_label(name) or name.startswith("smtrain-"):
        what = f"{name!r} cannot be the name of a volume."
        yield Problem(key=key, what=what, fix=f"{names.LABEL_RULE} It does not begin with smtrain-.")
    if (volume.claim is None) == (volume.host_path is None):
        what = (
            "It is neither a claim nor a folder of the node." if volume.claim is None else "It is both of two things."
        )
        yield Problem(key=key, what=what, fix="Set `claim` or `host_path`, one of the two.")
    elif volume.claim is not None and not names.is_subdomain(volume.claim):
        what = f"{volume.claim!r} is no name of a claim."
        yield Problem(key=f"{key}.claim", what=what, fix=names.SUBDOMAIN_RULE)
    for member, path in (("path", volume.path), ("host_path", volume.host_path)):
        if path is not None and (not is_plain(path) or path.strip("/") == ""):
            what = f"{path!r} is no folder that can be mounted."
            yield Problem(key=f"{key}.{member}", what=what, fix="Write it like /fsx, without `..` and `:`.")
    if volume.sub_path is not None and (not is_plain(f"/{volume.sub_path}") or volume.sub_path.startswith("/")):
        what = f"{volume.sub_path!r} is no folder inside the volume."
        yield Problem(key=f"{key}.sub_path", what=what, fix="Write it like team/project, relative to the volume.")


def _scratch(options: EksOptions) -> Iterator[Problem]:
    scratch = options.scratch
    for member, path in (("path", scratch.path), ("host_path", scratch.host_path)):
        if path is not None and (not is_plain(path) or path.strip("/") == ""):
            what = f"{path!r} is no folder that can be mounted."
            yield Problem(
                key=f"backend.scratch.{member}", what=what, fix="Write it like /scratch, without `..` and `:`."
            )
    if scratch.host_path is not None and scratch.size_gib is not None:
        what = "A folder of the node has no size that could be limited."
        yield Problem(key="backend.scratch.size_gib", what=what, fix="Leave it out.")


def _overlaps(options: EksOptions) -> Iterator[Problem]:
    seen = [(PurePosixPath(path), "which is taken") for path in _TAKEN]
    places = [("backend.scratch.path", options.scratch.path)]
    places += [(f"backend.volumes.{name}.path", volume.path) for name, volume in options.volumes.items()]
    for key, path in places:
        mine = PurePosixPath(path)
        for other, whose in seen:
            same = mine == other or (
                whose == "which is taken" and (mine.is_relative_to(other) or other.is_relative_to(mine))
            )
            if same and path.strip("/"):
                yield Problem(key=key, what=f"`{path}` overlaps with {other}, {whose}.", fix="Choose another folder.")
                break
        seen.append((mine, f"where {key} is mounted"))


def _output(job: Job, options: EksOptions) -> Iterator[Problem]:
    key, given = "storage.output", job.run.storage.output
    fix = "Set storage.output=s3://BUCKET/PREFIX, or a folder of a volume, such as /fsx/runs."
    if given is None:
        yield Problem(key=key, what="Nothing says where the results go; a pod's own disk ends with it.", fix=fix)
    elif given.startswith("s3://"):
        if fault := bucket_names.fault(given):
            yield Problem(key=key, what=fault, fix=bucket_names.RULE)
    elif not is_plain(given):
        yield Problem(key=key, what=f"`{given}` is neither an s3:// URI nor a folder of the pods.", fix=fix)
    elif volume_of(given, options) is None:
        what = f"No volume is mounted at `{given}`, so the results would end with the pods."
        yield Problem(
            key=key, what=what, fix="Mount one: backend.volumes.fsx={path: /fsx, claim: CLAIM}; or use s3://."
        )
    elif options.volumes[volume_of(given, options) or ""].read_only:
        yield Problem(key=key, what=f"The volume at `{given}` is mounted read-only.", fix="Mount it to be written.")
    if options.store is not None and (fault := bucket_names.fault(options.store)):
        yield Problem(key="backend.store", what=fault, fix=bucket_names.RULE)


def _restarts(job: Job, options: EksOptions) -> Iterator[Problem]:
    in_s3 = (job.run.storage.output or "").startswith("s3://")
    if options.restarts.max and in_s3 and not options.checkpoints.upload:
        what = "Checkpoints are kept on the pods alone: a restart on another node begins from the start."
        yield warning("backend.restarts.max", what, "Set backend.checkpoints.upload=true.")
