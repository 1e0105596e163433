"""Rules of users and of mounted buckets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from smtrain.plugin import Problem, bucket_names
from smtrain_hyperpod.cluster import mounts
from smtrain_hyperpod.cluster.options import ClusterOptions, Mount

_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}", re.ASCII)
"""useradd(8)."""

_TAKEN = frozenset({"root", "ubuntu", "slurm", "munge", "nobody", "daemon", "ssm-user", "sagemaker-user"})
"""Accounts that HyperPod's images have."""

_FIRST_UID, _LAST_UID = 1001, 60_000
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_PATH = re.compile(r"(/[A-Za-z0-9._-]+)+/?", re.ASCII)
_SYSTEM = frozenset(
    (
        *(
            "/bin",
            "/boot",
            "/dev",
            "/etc",
            "/home",
            "/lib",
            "/lib64",
            "/mnt",
            "/opt",
            "/opt/sagemaker",
            "/proc",
            "/root",
        ),
        *("/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/var"),
    )
)
_PREFIX = re.compile(r"[A-Za-z0-9._=/-]*", re.ASCII)


def problems(cluster: ClusterOptions) -> Iterator[Problem]:
    """Yields what is wrong with users and mounts."""
    yield from _users(cluster)
    yield from _mounts(cluster)


def _users(cluster: ClusterOptions) -> Iterator[Problem]:
    owners: dict[int, str] = {}
    for name, user in cluster.users.items():
        here = f"cluster.users.{name}"
        if not _USER.fullmatch(name):
            fix = "Take up to 32 lower-case letters, digits, `-` and `_`, the first no digit."
            yield Problem(key=here, what=f"`{name}` cannot be the name of a user.", fix=fix)
        elif name in _TAKEN:
            yield Problem(key=here, what=f"Every node has a user `{name}` already.", fix="Choose another name.")
        if not _FIRST_UID <= user.uid <= _LAST_UID:
            what = f"{user.uid} is no uid of a person: those are {_FIRST_UID} to {_LAST_UID}."
            yield Problem(key=f"{here}.uid", what=what, fix="AWS's examples begin with 2001.")
        elif (owner := owners.setdefault(user.uid, name)) != name:
            what = f"{user.uid} is the uid of `{owner}` as well."
            yield Problem(key=f"{here}.uid", what=what, fix="Give each user one of their own.")


def _mounts(cluster: ClusterOptions) -> Iterator[Problem]:
    taken = {
        system.mount_path.rstrip("/"): "the file system of FSx"
        for system in (cluster.fsx.lustre, cluster.fsx.openzfs)
        if system is not None
    }
    for name, mount in cluster.mounts.items():
        here = f"cluster.mounts.{name}"
        if not _NAME.fullmatch(name):
            fix = "Take lower-case letters, digits and `-`: a unit of systemd is called so."
            yield Problem(key=here, what=f"`{name}` cannot be the name of a mount.", fix=fix)
        yield from _uri(mount, here)
        yield from _path(mount, here, taken)
        taken.setdefault(mount.path.rstrip("/"), f"`{name}`")


def _uri(mount: Mount, here: str) -> Iterator[Problem]:
    _, prefix = mounts.split(mount)
    if fault := bucket_names.fault(mount.uri):
        yield Problem(key=f"{here}.uri", what=fault, fix=bucket_names.RULE)
    elif not _PREFIX.fullmatch(prefix):
        what = "Its prefix has characters that a unit of systemd would take for its own."
        yield Problem(key=f"{here}.uri", what=what, fix="Take letters, digits and `._=-/`, or mount the whole bucket.")


def _path(mount: Mount, here: str, taken: dict[str, str]) -> Iterator[Problem]:
    path = mount.path.rstrip("/")
    if not _PATH.fullmatch(mount.path) or ".." in PurePosixPath(mount.path).parts:
        what = f"`{mount.path}` cannot be mounted at."
        yield Problem(key=f"{here}.path", what=what, fix="Name a folder of letters, digits and `._-`, e.g. /mnt/data.")
    elif path in taken:
        yield Problem(key=f"{here}.path", what=f"{path} is where {taken[path]} is.", fix="Choose another folder.")
    elif path in _SYSTEM:
        what = f"{path} is the system's."
        yield Problem(key=f"{here}.path", what=what, fix="Name a folder of its own, e.g. /mnt/data.")
