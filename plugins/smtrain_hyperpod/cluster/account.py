"""A cluster as its account has it: described, its nodes listed, waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from smtrain.plugin import ExitCode, Json, SmtrainError, aws, fail

POLL_S = 10.0
"""Seconds between two looks."""

_ABSENT = ("not found", "could not find", "does not exist")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """An instance of a cluster.

    Attributes:
      group: name of its instance group.
      instance_id: i-….
      instance_type: ml.….
      status: as the API has it, e.g. "Running".
      message: why, where something is wrong.
      host: its name in the cluster's network; "" when it is not told.
    """

    group: str
    instance_id: str
    instance_type: str
    status: str
    message: str
    host: str


class Account:
    """The clusters of an account in a region."""

    def __init__(self, region: str, *, poll_s: float = POLL_S) -> None:
        """Opens it; nothing is called yet.

        Args:
          region: "" takes that of the environment or the profile.
          poll_s: seconds between two looks at what is waited for.
        """
        self.client = aws.Client("sagemaker", region)
        self._poll_s = poll_s

    @property
    def region(self) -> str:
        """The region."""
        return self.client.region

    def find(self, name: str) -> dict[str, Json] | None:
        """Returns DescribeCluster of a cluster; None when there is none."""
        try:
            return self.client.call("DescribeCluster", ClusterName=name)
        except aws.RefusedError as error:
            if is_absent(error):
                return None
            raise

    def get(self, name: str) -> dict[str, Json]:
        """Returns DescribeCluster of a cluster.

        Raises:
          SmtrainError: there is none.
        """
        found = self.find(name)
        if found is None:
            raise _no_cluster(name, self.region)
        return found

    def nodes(self, name: str) -> Iterator[Node]:
        """Yields the nodes of a cluster, group by group."""
        rows: list[Node] = []
        for page in self.client.pages("ListClusterNodes", ClusterName=name):
            rows += map(_node, cast("list[dict[str, Json]]", page.get("ClusterNodeSummaries") or []))
        yield from sorted(rows, key=lambda node: (node.group, node.instance_id))

    def settled(
        self, name: str, tell: Callable[[str], None], *, timeout_s: float | None = None, counts: bool = False
    ) -> dict[str, Json]:
        """Waits until a cluster changes no more, and returns its description.

        Args:
          name: of the cluster.
          tell: is told in a line whenever something has changed.
          timeout_s: after which it is given up; None waits as long as it takes.
          counts: wait for every instance, too; with continuous provisioning they follow once the cluster is in service.

        Raises:
          SmtrainError: there is no such cluster, or it took too long.
        """
        described: dict[str, Json] | None = None
        for described in self._looks(name, tell, timeout_s):
            if status(described) == "Failed" or (
                status(described) == "InService" and not (counts and missing(described))
            ):
                break
        if described is None:
            raise _no_cluster(name, self.region)
        return described

    def gone(self, name: str, tell: Callable[[str], None], *, timeout_s: float | None = None) -> None:
        """Waits until there is no such cluster.

        Raises:
          SmtrainError: it took too long, or the cluster stayed.
        """
        was_going = False
        for described in self._looks(name, tell, timeout_s):
            going = status(described) == "Deleting"
            if was_going and not going:
                reason = failure(described) or "no reason is given."
                what = f"{name} was being deleted, and is {status(described)}: {reason}"
                raise fail(what, "Delete it again.", code=ExitCode.REMOTE_REFUSED)
            was_going = going

    def _looks(self, name: str, tell: Callable[[str], None], timeout_s: float | None) -> Iterator[dict[str, Json]]:
        """Yields a cluster's description again and again, as long as there is one."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        said = ""
        while (described := self.find(name)) is not None:
            if (line := progress(described)) != said:
                tell(line)
                said = line
            yield described
            if deadline is not None and time.monotonic() >= deadline:
                what = f"{name} is still {status(described)} after {timeout_s:g} s."
                raise fail(what, "It goes on. See it: smtrain cluster status", code=ExitCode.REMOTE_REFUSED)
            time.sleep(self._poll_s)


def is_absent(error: aws.RefusedError) -> bool:
    """Whether the service says that there is no such cluster."""
    # SageMaker says ValidationException, with words alone to tell it from a bad request.
    absent = any(words in error.message.lower() for words in _ABSENT)
    return error.error_code == "ResourceNotFound" or (error.error_code == "ValidationException" and absent)


def status(described: Mapping[str, Json]) -> str:
    """Returns a cluster's status."""
    return str(described.get("ClusterStatus", ""))


def failure(described: Mapping[str, Json]) -> str:
    """Returns why a cluster failed, in AWS's words; "" when it did not."""
    return str(described.get("FailureMessage") or "").strip()


def cluster_id(described: Mapping[str, Json]) -> str:
    """Returns the id by which SSM knows a cluster: the end of its ARN."""
    return str(described["ClusterArn"]).rpartition("/")[2]


def groups(described: Mapping[str, Json]) -> list[dict[str, Json]]:
    """Returns the instance groups of a cluster."""
    return cast("list[dict[str, Json]]", described.get("InstanceGroups") or [])


def progress(described: Mapping[str, Json]) -> str:
    """Returns a cluster's status and how many instances it has, in a line."""
    counts = (
        f"{group.get('InstanceGroupName')} {group.get('CurrentCount', 0)}/{group.get('TargetCount', 0)}"
        for group in groups(described)
    )
    return f"{described.get('ClusterName')}: {status(described)}  {'  '.join(counts)}".rstrip()


def missing(described: Mapping[str, Json]) -> int:
    """Returns how many instances a cluster lacks, or has too many."""
    return sum(
        abs(int(str(group.get("TargetCount", 0))) - int(str(group.get("CurrentCount", 0))))
        for group in groups(described)
    )


def logs(described: Mapping[str, Json]) -> str:
    """Returns the log group in which CloudWatch has what the lifecycle scripts said."""
    return f"/aws/sagemaker/Clusters/{described.get('ClusterName')}/{cluster_id(described)}"


def _node(row: Mapping[str, Json]) -> Node:
    found = row.get("InstanceStatus")
    told = found if isinstance(found, dict) else {}
    return Node(
        group=str(row.get("InstanceGroupName", "")),
        instance_id=str(row.get("InstanceId", "")),
        instance_type=str(row.get("InstanceType", "")),
        status=str(told.get("Status", "")),
        message=str(told.get("Message") or ""),
        host=str(row.get("PrivateDnsHostname") or ""),
    )


def _no_cluster(name: str, region: str) -> SmtrainError:
    what = f"There is no cluster `{name}` in {region}."
    fix = "Check the name and the region; aws sagemaker list-clusters shows those that are there."
    return fail(what, fix, code=ExitCode.REMOTE_REFUSED)
