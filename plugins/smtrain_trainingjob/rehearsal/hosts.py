"""The hosts of a job: their names, their addresses on this machine, and the hosts file that each of them reads."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

from smtrain_trainingjob.rehearsal.request import ML, JobRequest

MOST_HOSTS = 154
"""As many as the last part of an address from 101 on has room for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One host of a job.

    Attributes:
      name: `algo-1`, `algo-2`, …
      known_as: the name under which the hosts reach one another.
      address: its own IPv4 address.
      group: its instance group.
      instance_type: such as `ml.g5.12xlarge`.
      root: folder of this machine that stands for the host's private files.
    """

    name: str
    known_as: str
    address: str
    group: str
    instance_type: str
    root: Path

    @property
    def ml(self) -> Path:
        """The folder that stands for `/opt/ml`."""
        return self.root / ML.strip("/")

    @property
    def work(self) -> Path:
        """The working directory; a container starts in its own `/`, which this machine has no second one of."""
        return self.root / "work"

    def inside(self, path: str) -> Path:
        """Returns the folder that stands for a path below `/opt/ml`."""
        return self.root / path.strip("/")


def place(job: JobRequest, workspace: Path, *, by_address: bool) -> tuple[Host, ...]:
    """Returns the hosts of a job, each with a folder of the workspace.

    Args:
      job: the job.
      workspace: its folder; absolute.
      by_address: whether they know one another by address, because nothing resolves their names.
    """
    kinds = [group for group in job.groups for _ in range(group.count)]
    # All of 127.0.0.0/8 is this machine. A network a rehearsal keeps several of them apart, and ends of three digits
    # sort as numbers do.
    digest = zlib.crc32(str(workspace).encode())
    network = f"127.{digest % 254 + 1}.{digest // 254 % 256}"
    return tuple(
        Host(
            name=f"algo-{number}",
            known_as=f"{network}.{100 + number}" if by_address else f"algo-{number}",
            address=f"{network}.{100 + number}",
            group=group.name,
            instance_type=group.instance_type,
            root=workspace / f"algo-{number}",
        )
        for number, group in enumerate(kinds, start=1)
    )


def hosts_file(hosts: tuple[Host, ...], machine: str) -> str:
    """Returns the hosts file of every host.

    Args:
      hosts: the hosts.
      machine: this machine's own hosts file, which says where `localhost` is.
    """
    ours = {host.name for host in hosts}
    kept = [line for line in machine.splitlines() if ours.isdisjoint(line.partition("#")[0].split())]
    return "\n".join((*kept, *(f"{host.address} {host.name}" for host in hosts), ""))
