"""The files of a cluster's folder: written once, read by the daemons and by later commands."""

from __future__ import annotations

import json
import os
import secrets
import stat
from dataclasses import asdict
from pathlib import Path

import accounting
import configuration
from configuration import Cluster

_CLUSTER = "cluster.json"
_FOLDERS = ("etc", "run", "log", "state", "spool", "devices")
_MACHINE_HOSTS = Path("/etc/hosts")


def write(cluster: Cluster, *, version: tuple[int, ...]) -> None:
    """Writes all that the daemons read; what was made before, such as the key, stays.

    Args:
      cluster: the cluster.
      version: of Slurm.
    """
    for name in _FOLDERS:
        (cluster.folder / name).mkdir(parents=True, exist_ok=True)
    (cluster.folder / "state").chmod(0o700)
    _make_key(cluster.key)
    for number in range(cluster.gpus):
        _make_device(configuration.device(cluster, number))
    machine = _MACHINE_HOSTS.read_text(encoding="utf-8", errors="replace") if _MACHINE_HOSTS.exists() else ""
    texts = {
        cluster.hosts: configuration.hosts(cluster, machine),
        cluster.conf: configuration.slurm_conf(cluster, accounting.slurm_conf(cluster) if cluster.accounting else ""),
        cluster.conf.with_name("gres.conf"): configuration.gres_conf(cluster),
        cluster.conf.with_name("cgroup.conf"): configuration.cgroup_conf(version),
    }
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    if cluster.accounting:
        accounting.write(cluster)
    fields = {name: value for name, value in asdict(cluster).items() if name != "folder"}
    # Last: where this file is, the others are.
    (cluster.folder / _CLUSTER).write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")


def read(folder: Path) -> Cluster | None:
    """Returns the cluster of a folder; None when there is none."""
    try:
        fields = json.loads((folder / _CLUSTER).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return Cluster(**{**fields, "folder": folder, "node_ports": tuple(fields["node_ports"])})


def _make_key(path: Path) -> None:
    if not path.exists():
        path.touch(mode=0o600)
        path.write_bytes(secrets.token_bytes(128))


def _make_device(path: Path) -> None:
    if not path.exists():
        # A second /dev/null: Slurm asks for a device, and nobody opens it.
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
