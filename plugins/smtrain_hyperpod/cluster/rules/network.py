"""Rules of the network, and of the file systems in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from smtrain.plugin import Problem
from smtrain_hyperpod.cluster import topology
from smtrain_hyperpod.cluster.options import ClusterOptions, Vpc

BASE_PATHS: Mapping[str, str] = {"lustre": "/fsx", "openzfs": "/home"}
"""Where AWS's base configuration mounts them; provisioning_parameters.json has no say in it."""

_FSX_HOST = re.compile(r"(?:fs|fc)i?-[0-9a-f]{8,}\.fsx\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?", re.ASCII)


def problems(cluster: ClusterOptions) -> Iterator[Problem]:
    """Yields what is wrong with the network."""
    yield from _pair(cluster.vpc, "cluster.vpc")
    for name, group in cluster.groups.items():
        if group.vpc is not None:
            yield from _pair(group.vpc, f"cluster.groups.{name}.vpc")
    for kind in ("lustre", "openzfs"):
        yield from _file_system(cluster, kind)


def _pair(vpc: Vpc, here: str) -> Iterator[Problem]:
    if bool(vpc.subnets) != bool(vpc.security_groups):
        lacking, other = ("security_groups", "subnets") if vpc.subnets else ("subnets", "security_groups")
        what = f"There are {other.replace('_', ' ')} and no {lacking.replace('_', ' ')}; a VPC takes both."
        yield Problem(key=f"{here}.{lacking}", what=what, fix=f"Set {here}.{lacking}=[…].")


def _file_system(cluster: ClusterOptions, kind: str) -> Iterator[Problem]:
    said = getattr(cluster.fsx, kind)
    if said is None:
        return
    here = f"cluster.fsx.{kind}"
    if not cluster.vpc.subnets:
        what = "Nodes reach FSx over a VPC of yours, and none is said."
        yield Problem(key=here, what=what, fix="Set cluster.vpc to that of the file system, or leave it out.")
    host = _FSX_HOST.fullmatch(said.dns_name)
    if host is None:
        what = f"`{said.dns_name}` is no DNS name of FSx."
        fix = "aws fsx describe-file-systems tells it: fs-….fsx.REGION.amazonaws.com"
        yield Problem(key=f"{here}.dns_name", what=what, fix=fix)
    elif host["region"] != cluster.region:
        what = f"The file system is in {host['region']}, and the cluster in {cluster.region}."
        yield Problem(key=f"{here}.dns_name", what=what, fix="They must be in one region.")
    if topology.has_file(cluster) and said.mount_path != BASE_PATHS[kind]:
        what = f"AWS's base configuration mounts it at {BASE_PATHS[kind]}."
        fix = "Leave it out, or set cluster.slurm.topology=api, which can tell another path."
        yield Problem(key=f"{here}.mount_path", what=what, fix=fix)
