"""The container in which a node runs the program: enroot through pyxis, or Docker."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from smtrain.plugin import Job, Problem
from smtrain_hyperpod.slurm.options import Container, SlurmOptions

_MOUNT = re.compile(r"(?P<here>/[^:,]*)(?::(?P<there>/[^:,]*)(?::(?P<flags>ro|rw))?)?")

_DOCKER = """\
#!/usr/bin/env bash
# On every node: runs a script of the bundle in the container. Values of variables go by their names alone, which keeps
# secrets off the command line.
set -euo pipefail
names=("${{!SLURM_@}}" "${{!SMTRAIN_@}}" "${{!AWS_@}}" "${{!NCCL_@}}" "${{!FI_@}}" "${{!HF_@}}" {names})
variables=()
for name in "${{names[@]}}"; do variables+=(--env "$name"); done
devices=()
if command -v nvidia-smi >/dev/null; then devices+=(--gpus all); fi
if [[ -d /dev/infiniband ]]; then devices+=(--device=/dev/infiniband); fi
mkdir -p -- {scratch}
exec docker run --rm --init --name "smtrain-$SLURM_JOB_ID-$SLURM_NODEID-${{1%.sh}}" --network=host --ipc=host \\
  --ulimit memlock=-1 --user "$(id -u):$(id -g)" --env HOME={scratch} "${{variables[@]}}" "${{devices[@]}}" \\
  --volume "$SMTRAIN_RUN:$SMTRAIN_RUN" {mounts} \\
  {image} bash "$SMTRAIN_BUNDLE/$1\""""


def srun_words(options: SlurmOptions, output: str | None) -> Iterator[str]:
    """Yields the words of srun that choose the container, as bash source.

    Args:
      options: of the backend.
      output: folder on the shared file system that keeps the results, as the user said it; None is that of the run.
    """
    chosen = options.container
    if chosen is None or chosen.runtime != "pyxis":
        return
    yield f"--container-image={shlex.quote(chosen.image)}"
    yield f"--container-mounts={shlex.quote(','.join(_mounts(chosen, options, output)))}"
    yield "--no-container-mount-home"
    yield from map(shlex.quote, chosen.options)


def command(options: SlurmOptions, script: str) -> str:
    """Returns the command that a task runs, as bash source."""
    if options.container is not None and options.container.runtime == "docker":
        return f'bash "$bundle/docker.sh" {script}'
    return f'bash "$bundle/{script}"'


def docker_sh(job: Job, options: SlurmOptions) -> str:
    """Returns docker.sh; "" when Docker is not used."""
    chosen = options.container
    if chosen is None or chosen.runtime != "docker":
        return ""
    names = sorted(reference[4:] for reference in job.run.secrets.values() if reference.startswith("env:"))
    mounts = [f"--volume {shlex.quote(mount)}" for mount in _mounts(chosen, options, shared_output(job))]
    return (
        _DOCKER.format(
            names=" ".join(("CUDA_VISIBLE_DEVICES", *names)),
            scratch=options.scratch_dir,
            mounts=" ".join((*mounts, *map(shlex.quote, chosen.options))),
            image=shlex.quote(chosen.image),
        )
        + "\n"
    )


def problems(options: SlurmOptions) -> Iterator[Problem]:
    """Yields what is wrong with the container."""
    chosen = options.container
    if chosen is None:
        return
    key = "backend.container"
    if not chosen.image.isprintable() or chosen.image != chosen.image.strip() or chosen.image.startswith("-"):
        yield Problem(key=f"{key}.image", what=f"{chosen.image!r} is no name of an image.", fix="Correct it.")
    for mount in chosen.mounts:
        if not _MOUNT.fullmatch(mount) or not mount.isprintable():
            what, fix = f"{mount!r} is no mount.", "Write /PATH, /PATH:/THERE or /PATH:/THERE:ro, without commas."
            yield Problem(key=f"{key}.mounts", what=what, fix=fix)
    for word in chosen.options:
        if not word.startswith("--") or not word.isprintable():
            yield Problem(key=f"{key}.options", what=f"{word!r} is no option.", fix="Write one as --NAME=VALUE.")
    if (options.env_file or "").startswith("~"):
        what = "A container has a home folder of its own, where the file is not."
        yield Problem(key="backend.env_file", what=what, fix="Write its full path, in shared_dir or in another mount.")
    for name, value in (("venv", options.venv), ("conda", options.conda)):
        if value is not None:
            what = f"A container and backend.{name} both say what the environment is."
            yield Problem(key=f"backend.{name}", what=what, fix="Leave one of them out.")


def shared_output(job: Job) -> str | None:
    """Returns the folder on the shared file system that the user has results kept in; None when there is none."""
    given = job.run.storage.output
    return None if given is None or given.startswith("s3://") else given


def _mounts(chosen: Container, options: SlurmOptions, output: str | None) -> Iterator[str]:
    folders = (options.shared_dir, options.scratch_dir, *([output] if output else []))
    yield from (f"{folder}:{folder}" for folder in dict.fromkeys(folders))
    for mount in chosen.mounts:
        yield mount if ":" in mount else f"{mount}:{mount}"
