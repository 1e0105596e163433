"""What a job must be for Slurm, whatever its program is."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from smtrain.plugin import Job, Problem, install_rules, instances, warning
from smtrain_hyperpod.slurm import container, parts, sbatch_options, time_limits
from smtrain_hyperpod.slurm.options import SlurmOptions
from smtrain_hyperpod.slurm.rules import path_rules

_HOST = re.compile(r"(?!-)[A-Za-z0-9_.@%:-]+", re.ASCII)
_NAMES = re.compile(r"[A-Za-z0-9_.-]+(?:,[A-Za-z0-9_.-]+)*", re.ASCII)
_WORD = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)
_MEMORY = re.compile(r"\d+[KMGT]?", re.ASCII)
_TEXTS = ("constraint", "reservation", "nodelist", "exclude", "dependency", "begin")
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d", re.ASCII)


def problems(job: Job, options: SlurmOptions) -> Iterator[Problem]:
    """Yields every reason why Slurm could not run a job as it is configured."""
    yield from path_rules.problems(job, options)
    yield from _login(options)
    yield from _names(options)
    yield from _time(options)
    yield from _resources(job, options)
    yield from _parts(job, options)
    yield from _environment(options)
    yield from sbatch_options.problems(options.sbatch)
    yield from container.problems(options)
    yield from install_rules.problems(options.install)


def _login(options: SlurmOptions) -> Iterator[Problem]:
    if options.login is not None and not _HOST.fullmatch(options.login):
        what = f"{options.login!r} is no name of a host."
        yield Problem(key="backend.login", what=what, fix="Name a host of your ssh_config, or USER@HOST.")
    if options.region is not None and not _REGION.fullmatch(options.region):
        what = f"{options.region!r} is no region of AWS."
        yield Problem(key="backend.region", what=what, fix="Write it like us-east-1.")


def _names(options: SlurmOptions) -> Iterator[Problem]:
    for name, form in (("partition", _NAMES), ("account", _WORD), ("qos", _NAMES), ("gpu_type", _WORD)):
        value = getattr(options, name)
        if value is not None and not form.fullmatch(value):
            what = f"{value!r} is no name that Slurm gives."
            yield Problem(key=f"backend.{name}", what=what, fix="Names have letters, digits, `_`, `-` and `.`.")
    for name in _TEXTS:
        value = getattr(options, name)
        if value is not None and (fault := sbatch_options.text_fault(value)):
            yield Problem(key=f"backend.{name}", what=fault, fix=f"Write it as sbatch --{name} takes it.")
    if options.mail.user is not None and (" " in options.mail.user or sbatch_options.text_fault(options.mail.user)):
        what = f"{options.mail.user!r} is no address."
        yield Problem(key="backend.mail.user", what=what, fix="Write NAME@DOMAIN, or a user of the cluster.")


def _time(options: SlurmOptions) -> Iterator[Problem]:
    if options.time is None or time_limits.is_unlimited(options.time):
        return
    limit_s = time_limits.seconds(options.time)
    if not limit_s:
        what = f"{options.time!r} is no time limit."
        yield Problem(key="backend.time", what=what, fix=f"Write {time_limits.FORMS}.")
    elif limit_s <= options.requeue.lead_s:
        what = (
            f"The limit of {limit_s} s is over before the job has begun: {options.requeue.lead_s} s ahead of it"
            " (backend.requeue.lead_s) the job is told to save and end."
        )
        yield Problem(key="backend.time", what=what, fix="Raise it, or lower backend.requeue.lead_s.")
    elif options.grace_s > options.requeue.lead_s:
        what = f"Steps may take {options.grace_s} s to save, and the time limit comes {options.requeue.lead_s} s later."
        fix = f"Set backend.requeue.lead_s to more than {options.grace_s}, or lower backend.grace_s."
        yield warning("backend.requeue.lead_s", what, fix)


def _resources(job: Job, options: SlurmOptions) -> Iterator[Problem]:
    if options.mem is not None and not _MEMORY.fullmatch(options.mem):
        what = f"{options.mem!r} is no size."
        yield Problem(key="backend.mem", what=what, fix='Write a number with K, M, G or T, such as "64G"; "0" is all.')
    if not options.exclusive and options.cpus_per_task is None and "cpus-per-gpu" not in options.sbatch:
        what = "Nodes are shared, and nothing says how many CPUs the job is to have: Slurm gives one a node."
        yield warning("backend.cpus_per_task", what, "Set it, e.g. to a few for each GPU.")
    on_gpus = job.topology.accelerator == "gpu"
    if options.gpu_type is not None and not on_gpus:
        what = "A type of GPU is named, and no GPUs are asked for."
        yield Problem(key="backend.gpu_type", what=what, fix="Set compute=gpu compute.gpus_per_node=N.")
    machine = instances.find(job.run.compute.instance_type or "")
    if machine is not None and machine.gpus and job.topology.accelerator == "auto":
        what = f"`{machine.name}` has {machine.gpus} GPUs, and whether Slurm gives them is left open."
        yield warning("compute.accelerator", what, "Set compute=gpu compute.gpus_per_node=N, to ask for them.")


def _parts(job: Job, options: SlurmOptions) -> Iterator[Problem]:
    """Yields what is wrong with the settings that steps have of their own."""
    for name, own in options.steps.items():
        said = parts.said(own)
        changed = replace(options, **said)
        for problem in (*_names(changed), *_time(changed), *_resources(job, changed)):
            option = problem.key.removeprefix("backend.")
            if option in said:
                yield replace(problem, key=f"backend.steps.{name}.{option}")


def _environment(options: SlurmOptions) -> Iterator[Problem]:
    if options.venv is not None and options.conda is not None:
        what = "A virtual environment and one of conda are named."
        yield Problem(key="backend.conda", what=what, fix="Leave one of them out.")
    for name in ("python", "conda"):
        value = getattr(options, name)
        if value is not None and (not value.isprintable() or not value.strip() or value.startswith("-")):
            yield Problem(key=f"backend.{name}", what=f"{value!r} is no name of one.", fix="Correct it.")
    fault = _bash_fault(options.prologue)
    if fault:
        yield Problem(key="backend.prologue", what=f"It is not valid bash: {fault}", fix="Correct it.")
    for key, folder in (("source_dir", options.source_dir), ("install.wheels", options.install.wheels)):
        # An empty path would be the current folder.
        if folder is not None and not (folder.strip() and Path(folder).expanduser().is_dir()):
            what = f"There is no folder `{folder}`."
            yield Problem(key=f"backend.{key}", what=what, fix="Relative paths start at the current folder, `.`.")


def _bash_fault(lines: tuple[str, ...]) -> str:
    """Returns what bash says of lines that it cannot parse; "" when it can, or is not here."""
    if not lines:
        return ""
    try:
        done = subprocess.run(("bash", "-n"), input="\n".join(lines).encode(), capture_output=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stderr.decode(errors="replace").strip() if done.returncode else ""
