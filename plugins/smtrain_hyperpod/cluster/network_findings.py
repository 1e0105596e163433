"""What AWS's own validate-config.py would refuse of a cluster's network, asked of EC2.

Sources: validate-config.py of github.com/aws-samples/awsome-distributed-training, 1.architectures/5.sagemaker-hyperpod
(the first subnet must be private, the first security group must let its members reach one another); for the group's
rules AWSEC2/latest/UserGuide/efa-start. Here every subnet and group is looked at, those of instance groups too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from smtrain.plugin import Finding, Json, aws, instances
from smtrain_hyperpod.cluster.options import ClusterOptions, Group, Vpc


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What was looked at: the finding, and the key that says what it is about."""

    key: str
    finding: Finding


def findings(cluster: ClusterOptions) -> Iterator[Looked]:
    """Yields what is good, bad, or not to be seen; calls out, and changes nothing."""
    if not cluster.vpc.subnets and not any(group.vpc for group in cluster.groups.values()):
        nothing = Finding(subject="network", good=None, what="No VPC is named: there is nothing to look at.")
        yield Looked(key="cluster.vpc", finding=nothing)
        return
    client = aws.Client("ec2", cluster.region)
    for where, vpc in _vpcs(cluster):
        needs_efa = any(_has_efa(group) for group in cluster.groups.values() if (group.vpc or cluster.vpc) is vpc)
        try:
            yield from _subnets(client, where, vpc)
            yield from _security_groups(client, where, vpc, needs_efa=needs_efa)
            yield from _zones(client, cluster, where, vpc)
        except aws.RefusedError as error:
            absent = error.error_code.endswith(".NotFound")
            fix = f"Set {where}." if absent else f"Allow ec2:{error.operation} to whoever runs smtrain."
            found = Finding(subject="network", good=False if absent else None, what=error.message, fix=fix)
            yield Looked(key=where, finding=found)


def _vpcs(cluster: ClusterOptions) -> Iterator[tuple[str, Vpc]]:
    if cluster.vpc.subnets:
        yield "cluster.vpc", cluster.vpc
    for name, group in cluster.groups.items():
        if group.vpc is not None:
            yield f"cluster.groups.{name}.vpc", group.vpc


def _subnets(client: aws.Client, where: str, vpc: Vpc) -> Iterator[Looked]:
    for row in _rows(client.call("DescribeSubnets", SubnetIds=list(vpc.subnets)), "Subnets"):
        name = str(row["SubnetId"])
        if row.get("MapPublicIpOnLaunch"):
            what = f"{name} is public: instances there would get public addresses, with which no cluster is made."
            found = Finding(subject="subnet", good=False, what=what, fix=f"Name a private one in {where}.subnets.")
        else:
            found = Finding(subject="subnet", good=True, what=f"{name} is private, in {row.get('AvailabilityZone')}.")
        yield Looked(key=f"{where}.subnets.{vpc.subnets.index(name)}", finding=found)


def _security_groups(client: aws.Client, where: str, vpc: Vpc, *, needs_efa: bool) -> Iterator[Looked]:
    for row in _rows(client.call("DescribeSecurityGroups", GroupIds=list(vpc.security_groups)), "SecurityGroups"):
        key = f"{where}.security_groups.{vpc.security_groups.index(str(row['GroupId']))}"
        yield Looked(key=key, finding=_security_group(row, where, needs_efa=needs_efa))


def _security_group(row: Mapping[str, Json], where: str, *, needs_efa: bool) -> Finding:
    name = str(row["GroupId"])
    ways = {"in": "IpPermissions", "out": "IpPermissionsEgress"}
    lacking = [way for way, rules in ways.items() if not _lets_itself(_rows(row, rules), name)]
    if not lacking:
        return Finding(subject="firewall", good=True, what=f"{name} lets its members reach one another.")
    what = f"{name} has no rule that lets all traffic {' and '.join(lacking)} among its members"
    what += ", which EFA needs." if needs_efa else ", which AWS's validation asks for; no group here has EFA."
    fix = f"Add it: all traffic, with {name} itself as source and as destination; or name another in {where}."
    return Finding(subject="firewall", good=False if needs_efa else None, what=what, fix=fix)


def _lets_itself(rules: list[dict[str, Json]], group: str) -> bool:
    return any(
        rule.get("IpProtocol") == "-1" and pair.get("GroupId") == group
        for rule in rules
        for pair in _rows(rule, "UserIdGroupPairs")
    )


def _zones(client: aws.Client, cluster: ClusterOptions, where: str, vpc: Vpc) -> Iterator[Looked]:
    """Looks whether EC2 has the instance types in the subnets' Availability Zones."""
    subnets = _rows(client.call("DescribeSubnets", SubnetIds=list(vpc.subnets)), "Subnets")
    zones = sorted({str(row.get("AvailabilityZone")) for row in subnets})
    wanted = {
        name.removeprefix(instances.PREFIX): f"cluster.groups.{group_name}"
        for group_name, group in cluster.groups.items()
        if (group.vpc or cluster.vpc) is vpc
        for name in (group.instance_type,)
        if name
    }
    if not wanted:
        return
    answer = client.call(
        "DescribeInstanceTypeOfferings",
        LocationType="availability-zone",
        Filters=[{"Name": "location", "Values": zones}, {"Name": "instance-type", "Values": sorted(wanted)}],
    )
    offered = {str(row.get("InstanceType")) for row in _rows(answer, "InstanceTypeOfferings")}
    for name in sorted(set(wanted) - offered):
        what = f"There is no {name} in {' or '.join(zones)}."
        fix = f"Name a subnet of another zone in {where}.subnets, or another instance type."
        found = Finding(subject="zone", good=False, what=what, fix=fix)
        yield Looked(key=f"{wanted[name]}.instance_type", finding=found)


def _has_efa(group: Group) -> bool:
    machine = instances.find(group.instance_type or "")
    return machine is not None and machine.efa_interfaces > 0


def _rows(answer: Mapping[str, Json], member: str) -> list[dict[str, Json]]:
    return cast("list[dict[str, Json]]", answer.get(member) or [])
