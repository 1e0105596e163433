"""How the processes of one host are kept apart from this machine and from the other hosts."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from smtrain_trainingjob.rehearsal.hosts import Host


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A folder of this machine that a host finds at a path below `/opt/ml`."""

    source: Path
    path: str
    read_only: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A process to start on this machine.

    Attributes:
      argv: its words.
      environment: its whole environment.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]


class Isolation(Protocol):
    """One way to run a container's process; see `namespaces`, `folders` and `docker`."""

    @property
    def by_address(self) -> bool:
        """Whether hosts know one another by address, because nothing resolves their names."""
        ...

    @property
    def interface(self) -> str:
        """The network interface with the hosts' addresses; programs must read it, since it differs on SageMaker."""
        ...

    def local(self, host: Host, text: str) -> str:
        """Returns a value of the request as a host must see it, where its `/opt/ml` is another folder."""
        ...

    def open(self, hosts: tuple[Host, ...]) -> None:
        """Makes what all hosts of a job share."""
        ...

    def command(
        self, host: Host, command: tuple[str, ...], environment: Mapping[str, str], mounts: tuple[Mount, ...]
    ) -> Command:
        """Returns what to start for a host; writes nothing but below the host's root."""
        ...

    def send(self, host: Host, process: subprocess.Popen[bytes], number: signal.Signals) -> None:
        """Signals the entrypoint of a host, as `docker kill --signal` does; nothing happens when it has ended."""
        ...

    def clear(self, host: Host) -> None:
        """Ends whatever a host's entrypoint left running."""
        ...

    def close(self) -> None:
        """Removes what `open` made."""
        ...
