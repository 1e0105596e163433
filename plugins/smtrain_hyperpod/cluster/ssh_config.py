"""Entries of ~/.ssh/config for a cluster's nodes, which are reached over AWS Systems Manager.

Source of the target's form: sagemaker/latest/dg/sagemaker-hyperpod-run-jobs-slurm-access-nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from smtrain.plugin import shell
from smtrain_hyperpod.cluster.account import Node

DOCUMENT = "AWS-StartSSHSession"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How nodes are reached.

    Attributes:
      cluster: its name.
      cluster_id: the end of its ARN.
      region: its region.
      user: on the nodes.
      profile: of the AWS CLI; "" takes the default.
      identity: file of the private key; "" leaves it to ssh.
    """

    cluster: str
    cluster_id: str
    region: str
    user: str
    profile: str = ""
    identity: str = ""


def text(access: Access, nodes: Iterable[Node], kinds: Mapping[str, str]) -> str:
    """Returns the entries: one a node, and one called as the cluster for where people log in.

    Args:
      access: how nodes are reached.
      nodes: of the cluster.
      kinds: group → controller, login or compute, as far as it is known.
    """
    found = tuple(nodes)
    names = dict(host_names(access.cluster, found))
    door = _door(found, kinds)
    entries = [_entry(access, node, names[node.instance_id], door) for node in found]
    head = f"# Nodes of HyperPod cluster {access.cluster} in {access.region}; written by smtrain.\n\n"
    return head + "\n".join(entries)


def host_names(cluster: str, nodes: Iterable[Node]) -> Iterator[tuple[str, str]]:
    """Yields (instance id, name of its entry): the cluster's, the group's, and a number in it."""
    numbers: dict[str, int] = {}
    for node in nodes:
        numbers[node.group] = numbers.get(node.group, 0) + 1
        yield node.instance_id, f"{cluster}-{node.group}-{numbers[node.group]}"


def target(access: Access, node: Node) -> str:
    """Returns what Systems Manager calls a node."""
    return f"sagemaker-cluster:{access.cluster_id}_{node.group}-{node.instance_id}"


def _door(nodes: Iterable[Node], kinds: Mapping[str, str]) -> str:
    """Returns the instance that people log in to: of a login group, else of the controller; "" for none."""
    order = {"login": 0, "controller": 1}
    doors = [node for node in nodes if kinds.get(node.group) in order]
    doors.sort(key=lambda node: order[kinds[node.group]])
    return doors[0].instance_id if doors else ""


def _entry(access: Access, node: Node, name: str, door: str) -> str:
    names = f"{access.cluster} {name}" if node.instance_id == door else name
    lines = [f"Host {names}", f"  User {access.user}"]
    if access.identity:
        lines += [f'  IdentityFile "{access.identity}"', "  IdentitiesOnly yes"]
    # A node that is replaced keeps its name here, and has another key.
    lines += [f"  HostKeyAlias {node.instance_id}", f"  ProxyCommand {_proxy(access, node)}"]
    return "".join(f"{line}\n" for line in lines)


def _proxy(access: Access, node: Node) -> str:
    profile = ("--profile", access.profile) if access.profile else ()
    words = ("aws", "ssm", "start-session", *profile, "--region", access.region, "--target", target(access, node))
    # %p is ssh's, which fills in the port; any other % would be taken for one of its own.
    command = shell.command((*words, "--document-name", DOCUMENT, "--parameters")).replace("%", "%%")
    return f"{command} portNumber=%p"
