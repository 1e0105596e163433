"""What `smtrain doctor` looks at on the login node; nothing is changed there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import cast

from smtrain.plugin import Bundle, BundleFile, Finding, Job, Json, SmtrainError
from smtrain_hyperpod.slurm import cluster_look, contents
from smtrain_hyperpod.slurm.following import submitted
from smtrain_hyperpod.slurm.options import SlurmOptions
from smtrain_hyperpod.transport.login_node import LoginNode
from smtrain_hyperpod.transport.reached import login_node

_PROGRAMS = ("sbatch", "squeue", "scontrol", "scancel", "sinfo")
_LOOK = r"""
shared=$1
shift
for program in "$@"; do
  if ! command -v "$program" >/dev/null; then echo "lacking $program"; fi
done
while [[ ! -e $shared ]]; do shared=${shared%/*}; [[ -n $shared ]] || shared=/; done
if [[ -d $shared && -w $shared ]]; then echo writable; else echo "refused $shared"; fi
if [[ -d /opt/sagemaker_cluster ]]; then echo hyperpod; fi
"""


def diagnose(job: Job, bundle: Bundle, options: SlurmOptions) -> Iterator[Finding]:
    """Yields what is found on the login node."""
    del job
    target = submitted.parsed(_document(bundle))
    try:
        login = login_node(target.login, key="backend.login")
        done = login.run(("bash", "-c", _LOOK, "look", options.shared_dir, *_PROGRAMS))
    except SmtrainError as error:
        for problem in error.problems:
            yield Finding(subject="login", good=False, what=problem.what, fix=problem.fix)
        return
    yield Finding(subject="login", good=True, what=f"{login.name} is reached.")
    said = done.stdout.splitlines()
    yield from _programs(said, login.name)
    yield from _shared(said, options)
    yield from _hyperpod(said, options)
    if "lacking sinfo" not in said:
        yield from _cluster(login, target)


def _document(bundle: Bundle) -> Json:
    (file,) = (file for file in bundle.files if file.path == contents.TARGET)
    return cast("Json", json.loads(_content(file)))


def _content(file: BundleFile) -> bytes:
    return file.content if isinstance(file.content, bytes) else file.content.path.read_bytes()


def _programs(said: list[str], name: str) -> Iterator[Finding]:
    lacking = [line.removeprefix("lacking ") for line in said if line.startswith("lacking ")]
    if lacking:
        what = f"{name} has no {', '.join(lacking)}."
        yield Finding(
            subject="slurm", good=False, what=what, fix="Name the login node of a Slurm cluster: backend.login."
        )
    else:
        yield Finding(subject="slurm", good=True, what=f"{name} has Slurm's commands.")


def _shared(said: list[str], options: SlurmOptions) -> Iterator[Finding]:
    refused = [line.removeprefix("refused ") for line in said if line.startswith("refused ")]
    if refused:
        what = f"{options.shared_dir} cannot be made or written: {refused[0]} is not yours to write to."
        yield Finding(subject="shared_dir", good=False, what=what, fix="Name another folder: backend.shared_dir.")
    else:
        what = f"{options.shared_dir} can be written; that the nodes share it, only a job sees."
        yield Finding(subject="shared_dir", good=True, what=what)


def _hyperpod(said: list[str], options: SlurmOptions) -> Iterator[Finding]:
    if options.hyperpod and "hyperpod" not in said:
        what = "There is no /opt/sagemaker_cluster: this is no HyperPod, and nodes that fail are not replaced."
        fix = "It works all the same; backend.hyperpod=false also asks Slurm for the GPUs."
        yield Finding(subject="hyperpod", good=None, what=what, fix=fix)


def _cluster(login: LoginNode, target: submitted.Target) -> Iterator[Finding]:
    rows = cluster_look.look(login)
    if isinstance(rows, str):
        yield Finding(subject="cluster", good=False, what=f"sinfo says: {rows}", fix="Ask the cluster's administrator.")
    else:
        yield from cluster_look.findings(target, rows)
