"""What a cluster has, by `sinfo`, and whether a job can ever have what it asks for there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from smtrain.plugin import ExitCode, Finding, Problem, SmtrainError, suggest
from smtrain_hyperpod.slurm import time_limits
from smtrain_hyperpod.slurm.following.submitted import Target
from smtrain_hyperpod.transport.login_node import LoginNode

_SINFO = ("sinfo", "--noheader", "--format=%P|%D|%G|%l|%T|%a")
_GPUS = re.compile(r"\bgpu:(?:[^:,()]+:)?(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Nodes:
    """Nodes of a partition that are alike: a row of sinfo.

    Attributes:
      partition: its name.
      is_default: whether it is taken when none is named.
      count: how many.
      gpus: of each.
      limit_s: longest time of a job; None is without limit.
      state: of the nodes, e.g. "idle".
      is_up: whether the partition takes jobs.
    """

    partition: str
    is_default: bool
    count: int
    gpus: int
    limit_s: int | None
    state: str
    is_up: bool


def look(login: LoginNode) -> tuple[Nodes, ...] | str:
    """Returns what the cluster has, or why that cannot be told.

    Raises:
      SmtrainError: the login node cannot be reached, or has no sinfo.
    """
    done = login.run(_SINFO)
    if done.code:
        return done.stderr.strip() or f"sinfo ended with exit code {done.code}"
    return tuple(parsed(done.stdout))


def parsed(text: str) -> Iterator[Nodes]:
    """Yields the rows of sinfo, as `look` asks for them."""
    for line in text.splitlines():
        cells = line.strip().split("|")
        if len(cells) != _SINFO[-1].count("|") + 1:
            continue
        name, count, gres, limit, state, up = cells
        yield Nodes(
            partition=name.rstrip("*"),
            is_default=name.endswith("*"),
            count=int(count) if count.isdigit() else 0,
            gpus=sum(map(int, _GPUS.findall(gres))),
            limit_s=time_limits.seconds(limit.replace("infinite", "")),
            state=state.rstrip("*"),
            is_up=up == "up",
        )


def findings(target: Target, rows: Iterable[Nodes]) -> Iterator[Finding]:
    """Yields whether the cluster has what the run's jobs ask for, now or ever."""
    rows = tuple(rows)
    for step, asked in _jobs(target):
        yield from _findings(asked, rows, _keys(step))


def _jobs(target: Target) -> Iterator[tuple[str, Target]]:
    """Yields the step at which each job begins, "" for the first, and what it asks for."""
    yield "", target
    for later in target.later:
        yield later.name, replace(target, nodes=later.nodes, partition=later.partition, time=later.time)


def _keys(step: str) -> Mapping[str, str]:
    """Returns the configuration key of each thing that a job asks for."""
    if step:
        own = {name: f"backend.steps.{step}.{name}" for name in ("partition", "nodes", "time")}
        return {**own, "gpus": "compute.gpus_per_node"}
    return {
        "partition": "backend.partition",
        "nodes": "compute.nodes",
        "gpus": "compute.gpus_per_node",
        "time": "backend.time",
    }


def _findings(target: Target, rows: tuple[Nodes, ...], keys: Mapping[str, str]) -> Iterator[Finding]:
    names = dict.fromkeys(row.partition for row in rows)
    wanted = target.partition.split(",") if target.partition else [row.partition for row in rows if row.is_default][:1]
    if not wanted:
        yield _bad(keys["partition"], "The cluster has no default partition.", f"Set it: {', '.join(names)}.")
        return
    for name in wanted:
        if name not in names:
            what = f"There is no partition `{name}`."
            yield _bad(keys["partition"], what, suggest.did_you_mean(name, names))
    own = [row for row in rows if row.partition in wanted]
    if own:
        yield from _nodes(target, own, " or ".join(wanted), keys)
        yield from _limit(target, own, " or ".join(wanted), keys)


def refuse_what_cannot_be(login: LoginNode, target: Target) -> None:
    """Raises when one of the run's jobs asks for what its cluster does not have; what cannot be seen is left to sbatch.

    Raises:
      SmtrainError: with all reasons.
    """
    rows = look(login)
    if isinstance(rows, str):
        return
    bad = [finding for finding in findings(target, rows) if finding.good is False]
    if bad:
        code = ExitCode.REMOTE_REFUSED
        problems = [Problem(key=each.subject, what=each.what, fix=each.fix, code=code) for each in bad]
        raise SmtrainError(problems)


def _bad(subject: str, what: str, fix: str) -> Finding:
    return Finding(subject=subject, good=False, what=what, fix=fix)


def _nodes(target: Target, own: list[Nodes], name: str, keys: Mapping[str, str]) -> Iterator[Finding]:
    if not any(row.is_up for row in own):
        yield _bad(
            keys["partition"], f"Partition {name} takes no jobs now.", "Choose another, or ask its administrator."
        )
    total = sum(row.count for row in own)
    if total < target.nodes:
        what = f"Partition {name} has {total} nodes, and the job asks for {target.nodes}."
        yield _bad(keys["nodes"], what, f"Lower {keys['nodes']}, or choose another partition.")
        return
    gpus = max(row.gpus for row in own)
    enough = sum(row.count for row in own if row.gpus >= target.gpus)
    if not gpus and target.gpus:
        what = f"Slurm knows of no GPUs in partition {name}, where the job needs {target.gpus} on each node."
        yield Finding(
            subject=keys["gpus"], good=None, what=what, fix="If its nodes have GPUs all the same: gpu_request=none."
        )
    elif enough < target.nodes:
        what = f"{enough} nodes of partition {name} have {target.gpus} GPUs, of {target.nodes}; the largest has {gpus}."
        yield _bad(keys["gpus"], what, "Lower compute.gpus_per_node, or choose another partition.")
    else:
        idle = sum(row.count for row in own if row.state == "idle")
        yield Finding(subject=keys["nodes"], good=True, what=f"partition {name}: {total} nodes, {idle} of them idle")


def _limit(target: Target, own: list[Nodes], name: str, keys: Mapping[str, str]) -> Iterator[Finding]:
    limits = [row.limit_s for row in own]
    asked_s = time_limits.seconds(target.time or "")
    longest = None if None in limits else max(limit for limit in limits if limit is not None)
    if asked_s and longest and asked_s > longest:
        what = f"Partition {name} lets no job run longer than {longest / 3600:g} h, and {target.time} is asked."
        yield _bad(keys["time"], what, f"Lower {keys['time']}: the job goes on after it, when it is requeued.")
