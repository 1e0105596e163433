"""What AWS's own validate-config.py would refuse of a cluster's file system, asked of FSx.

Source: validate-config.py of github.com/awslabs/awsome-distributed-ai, 1.architectures/5.sagemaker-hyperpod, 2026-07.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from smtrain.plugin import Finding, Json, aws
from smtrain_hyperpod.cluster import topology
from smtrain_hyperpod.cluster.network_findings import Looked
from smtrain_hyperpod.cluster.options import ClusterOptions, Lustre

_KEY = "cluster.fsx.lustre"


def findings(cluster: ClusterOptions) -> Iterator[Looked]:
    """Yields what is good, bad, or not to be seen; calls out, and changes nothing."""
    lustre = cluster.fsx.lustre
    if lustre is not None:
        yield from _lustre(lustre, cluster.region)
    elif topology.has_file(cluster):
        what = (
            f"AWS's validation asks for FSx for Lustre in {topology.PARAMETERS}; its base configuration does without."
        )
        yield _looked(None, what, fix=f"Set {_KEY}, if nodes are to share a file system.")


def _lustre(said: Lustre, region: str) -> Iterator[Looked]:
    name = said.dns_name.partition(".")[0]
    try:
        answer = aws.Client("fsx", region).call("DescribeFileSystems", FileSystemIds=[name])
    except aws.RefusedError as error:
        absent = error.error_code == "FileSystemNotFound"
        fix = f"Set {_KEY}." if absent else f"Allow fsx:{error.operation} to whoever runs smtrain."
        yield _looked(False if absent else None, error.message, fix=fix)
        return
    systems = cast("list[dict[str, Json]]", answer.get("FileSystems") or [])
    if not systems:
        yield _looked(False, f"There is no file system {name}.", fix=f"Set {_KEY}.")
        return
    yield from _compared(said, systems[0])


def _compared(said: Lustre, there: dict[str, Json]) -> Iterator[Looked]:
    told = there.get("LustreConfiguration")
    mount_name = told.get("MountName") if isinstance(told, dict) else None
    if there.get("FileSystemType", "LUSTRE") != "LUSTRE":
        what = f"{there.get('FileSystemId')} is {there.get('FileSystemType')}, and no FSx for Lustre."
        yield _looked(False, what, fix="Set cluster.fsx.openzfs for FSx for OpenZFS.")
    elif there.get("DNSName") != said.dns_name:
        what = f"The file system's DNS name is {there.get('DNSName')}, and not {said.dns_name}."
        yield _looked(False, what, fix=f"Set {_KEY}.dns_name={there.get('DNSName')}", key=f"{_KEY}.dns_name")
    elif mount_name != said.mount_name:
        what = f"The file system's mount name is {mount_name}, and not {said.mount_name}."
        yield _looked(False, what, fix=f"Set {_KEY}.mount_name={mount_name}", key=f"{_KEY}.mount_name")
    else:
        yield _looked(True, f"{said.dns_name} is there, with the mount name {mount_name}.")


def _looked(good: bool | None, what: str, *, fix: str = "", key: str = _KEY) -> Looked:
    return Looked(key=key, finding=Finding(subject="fsx", good=good, what=what, fix=fix))
