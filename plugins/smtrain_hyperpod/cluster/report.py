"""What the commands say of a cluster: rows for people, documents for programs."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import cast

from smtrain.plugin import BundleFile, Finding, Json, actions, costs
from smtrain_hyperpod.cluster import account, price
from smtrain_hyperpod.cluster.account import Node
from smtrain_hyperpod.cluster.compiled import Compiled

_MOST_SHOWN = 12
_WORDS = {True: "good", False: "bad", None: "unknown"}


def plan(compiled: Compiled, written: Path) -> Iterator[tuple[str, str]]:
    """Yields the rows of a plan."""
    yield from compiled.bundle.facts
    yield "cost", _cost(compiled)
    yield "bundle", str(written / "bundle")
    files = compiled.bundle.files
    for file in files[:_MOST_SHOWN]:
        yield "files", f"{size(file):>10,}  {file.path}"
    if len(files) > _MOST_SHOWN:
        yield "files", f"{'':>10}  and {len(files) - _MOST_SHOWN} more"
    yield from (("then", actions.as_text(action)) for action in compiled.bundle.actions)


def plan_json(compiled: Compiled, written: Path) -> dict[str, Json]:
    """Returns a plan as plain data."""
    return {
        "cluster": compiled.cluster.name,
        "region": compiled.cluster.region,
        "dir": str(written),
        "request": compiled.request,
        "facts": [{"title": title, "text": text} for title, text in compiled.bundle.facts],
        "cost": asdict(compiled.bundle.cost) if compiled.bundle.cost else None,
        "files": [file.path for file in compiled.bundle.files],
        "actions": [actions.as_json(action) for action in compiled.bundle.actions],
    }


def create_command(written: Path) -> str:
    """Returns the command that creates what a plan wrote."""
    return f"smtrain cluster create --dir {shlex.quote(str(written))}"


def size(file: BundleFile) -> int:
    """Returns the bytes of a file."""
    return len(file.content) if isinstance(file.content, bytes) else file.content.size


def finding(found: Finding) -> Iterator[tuple[str, str]]:
    """Yields the rows of what was looked at."""
    yield found.subject, f"{_WORDS[found.good]}: {found.what}"
    if found.good is not True:
        yield from ((found.subject, f"  {line}") for line in found.fix.splitlines())


def finding_json(found: Finding) -> dict[str, Json]:
    """Returns what was looked at as plain data."""
    return {"subject": found.subject, "good": found.good, "what": found.what, "fix": found.fix}


def described(cluster: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    """Yields the rows of a cluster as it is."""
    yield "cluster", f"{cluster.get('ClusterName')} ({cluster.get('ClusterArn')})"
    yield "status", account.status(cluster)
    for line in account.failure(cluster).splitlines():
        yield "failure", line
    if account.failure(cluster):
        yield "failure", f"What the scripts said: CloudWatch, log group {account.logs(cluster)}"
    for group in account.groups(cluster):
        counts = f"{group.get('CurrentCount', 0)} of {group.get('TargetCount', 0)}"
        kind = group.get("InstanceType") or _types(group)
        told = str(group.get("Status") or "")
        yield "groups", f"{group.get('InstanceGroupName')}: {counts} × {kind}  {told}".rstrip()


def nodes(found: Iterable[Node]) -> Iterator[tuple[str, str]]:
    """Yields the rows of a cluster's nodes, in columns."""
    rows = tuple(found)
    widths = [max((len(getattr(node, name)) for node in rows), default=0) for name in ("group", "instance_id", "host")]
    for node in rows:
        columns = zip((node.group, node.instance_id, node.host), widths, strict=True)
        line = "  ".join(f"{text:<{width}}" for text, width in columns if width)
        yield "nodes", f"{line}  {node.instance_type}  {node.status}".rstrip()
        if node.message and node.status != "Running":
            yield "nodes", f"  {node.message}"


def status_json(cluster: Mapping[str, Json], found: Iterable[Node]) -> dict[str, Json]:
    """Returns a cluster as it is, as plain data."""
    groups: list[Json] = [
        {
            "name": group.get("InstanceGroupName"),
            "instance_type": group.get("InstanceType") or _types(group),
            "current": group.get("CurrentCount", 0),
            "target": group.get("TargetCount", 0),
            "status": group.get("Status"),
        }
        for group in account.groups(cluster)
    ]
    return {
        "cluster": cluster.get("ClusterName"),
        "arn": cluster.get("ClusterArn"),
        "status": account.status(cluster),
        "failure": account.failure(cluster),
        "logs": account.logs(cluster),
        "groups": groups,
        "nodes": [asdict(node) for node in found],
    }


def _types(group: Mapping[str, Json]) -> str:
    told = group.get("InstanceRequirements")
    kinds = cast("list[str]", told.get("DesiredInstanceTypes") or []) if isinstance(told, dict) else []
    return " or ".join(kinds)


def _cost(compiled: Compiled) -> str:
    cost = compiled.bundle.cost
    if cost is not None:
        return costs.text([cost])
    keys = ", ".join(f"cluster.groups.{name}.usd_per_hour" for name in price.unknown(compiled.cluster))
    return f"unknown; to have it told, set {keys}"
