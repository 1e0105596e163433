"""What differs between a cluster that is there and the request that would make it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from smtrain.plugin import Json, api_limits
from smtrain_hyperpod.cluster import account

Path = tuple[str | int, ...]

_TOLD: Mapping[str, str] = {"InstanceCount": "TargetCount", "MinInstanceCount": "MinCount"}
"""Member of a specification → the member of a description that tells the same."""

_UNTOLD = frozenset({"Tags", "ClusterName", "InstanceGroups"})
"""Members of CreateCluster that DescribeCluster does not tell, or that are compared one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One member that is not as it is asked for.

    Attributes:
      path: where in the request; the second part of a group's is its name.
      wanted: the value asked for; None when the group is not asked for.
      found: the value that is there; None when there is none.
    """

    path: Path
    wanted: Json
    found: Json

    @property
    def group(self) -> str:
        """The instance group that differs; "" when it is the cluster."""
        return str(self.path[1]) if self.path[0] == "InstanceGroups" else ""

    @property
    def is_count(self) -> bool:
        """Whether it is the number of instances of a group."""
        return self.path[2:] == ("InstanceCount",)

    @property
    def is_surplus(self) -> bool:
        """Whether it is a group that is there, and not asked for."""
        return self.wanted is None and self._is_whole_group

    @property
    def _is_whole_group(self) -> bool:
        return bool(self.group) and self.path[2:] == ()

    def __str__(self) -> str:
        if self._is_whole_group:
            return f"group {self.group}: {'is not there' if self.wanted is not None else 'is there, and not asked for'}"
        place = api_limits.place(self.path[2:] if self.group else self.path)
        here = f"group {self.group}: {place}" if self.group else place
        return f"{here}: {api_limits.shown(self.found)}, asked for is {api_limits.shown(self.wanted)}"


def differences(request: Mapping[str, Json], described: Mapping[str, Json]) -> tuple[Difference, ...]:
    """Returns what differs; only what the request says is compared, since the service fills in the rest.

    Args:
      request: CreateCluster's.
      described: DescribeCluster's answer.
    """
    return (*_of_cluster(request, described), *_of_groups(request, described))


def _of_cluster(request: Mapping[str, Json], described: Mapping[str, Json]) -> Iterator[Difference]:
    for name, wanted in request.items():
        if name not in _UNTOLD:
            yield from _inside((name,), wanted, described.get(name))


def _of_groups(request: Mapping[str, Json], described: Mapping[str, Json]) -> Iterator[Difference]:
    there = {str(group["InstanceGroupName"]): group for group in account.groups(described)}
    asked = cast("list[dict[str, Json]]", request.get("InstanceGroups") or [])
    names = {str(group["InstanceGroupName"]) for group in asked}
    for group in asked:
        name = str(group["InstanceGroupName"])
        if name not in there:
            yield Difference(path=("InstanceGroups", name), wanted=group, found=None)
            continue
        for member, wanted in group.items():
            found = there[name].get(_TOLD.get(member, member))
            yield from _inside(("InstanceGroups", name, member), wanted, _desired(found))
    for name in sorted(set(there) - names):
        yield Difference(path=("InstanceGroups", name), wanted=None, found=there[name])


def _desired(found: Json) -> Json:
    """Returns what is wanted of a member that is told as it is and as it is to be."""
    if isinstance(found, dict) and "DesiredInstanceTypes" in found:
        return {"InstanceTypes": found["DesiredInstanceTypes"]}
    if isinstance(found, dict) and ("DesiredLabels" in found or "DesiredTaints" in found):
        return {"Labels": found.get("DesiredLabels"), "Taints": found.get("DesiredTaints")}
    return found


def _inside(path: Path, wanted: Json, found: Json) -> Iterator[Difference]:
    if isinstance(wanted, dict) and isinstance(found, dict):
        for name, value in wanted.items():
            yield from _inside((*path, name), value, found.get(name))
    elif not _fits(wanted, found, may_have_more=path[-1] == "InstanceStorageConfigs"):
        yield Difference(path=path, wanted=wanted, found=found)


def _fits(wanted: Json, found: Json, *, may_have_more: bool = False) -> bool:
    """Whether what is there has all that is wanted.

    Args:
      wanted: what the request says.
      found: what the description says.
      may_have_more: whether a list may have items that nobody asked for, as volumes that an instance has in any case.
    """
    if isinstance(wanted, dict) and isinstance(found, dict):
        return all(_fits(value, found.get(name)) for name, value in wanted.items())
    if isinstance(wanted, list) and isinstance(found, list):
        # Subnets, health checks, volumes: sets, all of them.
        same = all(any(_fits(value, other) for other in found) for value in wanted)
        return same and (may_have_more or len(wanted) == len(found))
    return wanted == found
