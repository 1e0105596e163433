"""Hosts as folders: for machines on which this user may make no namespaces.

What it cannot do: `/opt/ml` is another folder, which SMTRAIN_ML_ROOT and SAGEMAKER_BASE_DIR name, and which replaces
`/opt/ml` in the words of the entrypoint, in the environment and in hyperparameters, but not in files of the job; hosts
know one another by address, since `algo-1` resolves to nothing; the host name is the machine's.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from smtrain_trainingjob.rehearsal.hosts import Host
from smtrain_trainingjob.rehearsal.isolation import Command, Mount
from smtrain_trainingjob.rehearsal.request import ML

MARK = "SMTRAIN_REHEARSAL_OF"
"""Environment variable of every process of a host: the host's root."""

_ML = re.compile(rf"(?<![\w./-]){re.escape(ML)}(?![\w.-])")
_LOOKS = 20
_LOOK_AGAIN_S = 0.01


@dataclass(frozen=True, slots=True)
class Folders:
    """Runs each host as ordinary processes of this machine."""

    @property
    def by_address(self) -> bool:
        """Nothing resolves `algo-1` here."""
        return True

    @property
    def interface(self) -> str:
        """Every address of 127.0.0.0/8 is one of loopback's."""
        return "lo"

    def local(self, host: Host, text: str) -> str:
        """Returns the value with the host's folder in place of `/opt/ml`."""
        return _ML.sub(lambda _: str(host.ml), text)

    def open(self, hosts: tuple[Host, ...]) -> None:
        """Nothing is shared."""

    def command(
        self, host: Host, command: tuple[str, ...], environment: Mapping[str, str], mounts: tuple[Mount, ...]
    ) -> Command:
        """Returns the entrypoint with the paths of this host."""
        for mount in mounts:
            _link(mount.source, host.inside(mount.path))
        return Command(
            # `exec` reports a program that is not there the way a container does, with 127.
            argv=("/bin/sh", "-c", 'exec "$@"', "sh", *(self.local(host, word) for word in command)),
            environment={
                **{name: self.local(host, value) for name, value in environment.items()},
                "SMTRAIN_ML_ROOT": str(host.ml),
                "SAGEMAKER_BASE_DIR": str(host.ml),
                MARK: str(host.root),
            },
        )

    def send(self, host: Host, process: subprocess.Popen[bytes], number: signal.Signals) -> None:
        """Signals the entrypoint alone; it passes on what its children should know."""
        del host
        process.send_signal(number)

    def clear(self, host: Host) -> None:
        """Kills what is left of a host, found by its mark, until nothing is: some may be starting others."""
        for _ in range(_LOOKS):
            found = {pid: mark for pid, mark in _marks() if mark in {host.root, None}}
            for pid in (pid for pid, mark in found.items() if mark is not None):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not found:
                break
            time.sleep(_LOOK_AGAIN_S)

    def close(self) -> None:
        """Nothing is shared."""


def _link(source: Path, place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.symlink_to(source)


def _marks() -> Iterator[tuple[int, Path | None]]:
    """Yields each marked process with its mark, and with None those whose environment cannot be told yet.

    While a process replaces its program (execve), its environment reads as empty.
    """
    start = os.fsencode(f"{MARK}=")
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            environment = (entry / "environ").read_bytes()
            if not environment and (entry / "exe").readlink():  # which kernel threads and ended processes have not
                yield int(entry.name), None
            for variable in environment.split(b"\0"):
                if variable.startswith(start):
                    yield int(entry.name), Path(os.fsdecode(variable[len(start) :]))
