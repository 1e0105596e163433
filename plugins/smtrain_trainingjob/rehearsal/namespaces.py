"""Hosts as Linux namespaces: each has its own `/opt/ml`, host name, hosts file and process ids; no daemon is needed.

Everything of a host ends with its entrypoint, as in a container, and with this process. Unlike a container it shares
with this machine: the rest of the file system, `/tmp` and `/dev/shm` too, and the network (hosts differ by address; a
server on 0.0.0.0 takes its port on all of them; EnableNetworkIsolation is not imitated).
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from smtrain_trainingjob.rehearsal.hosts import Host, hosts_file
from smtrain_trainingjob.rehearsal.isolation import Command, Mount
from smtrain_trainingjob.rehearsal.request import ML

_HOSTS = Path("/etc/hosts")
_OPT = Path("/opt")
_PROBE_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespaces:
    """Runs each host in namespaces of its own.

    Attributes:
      unshare: the words that start a command in new namespaces.
    """

    unshare: tuple[str, ...]

    @property
    def by_address(self) -> bool:
        """Names resolve: every host reads a hosts file of ours."""
        return False

    @property
    def interface(self) -> str:
        """Every address of 127.0.0.0/8 is one of loopback's."""
        return "lo"

    def local(self, host: Host, text: str) -> str:
        """Returns the value as it is: `/opt/ml` is `/opt/ml`."""
        del host
        return text

    def open(self, hosts: tuple[Host, ...]) -> None:
        """Writes the hosts file of every host."""
        machine = _HOSTS.read_text(encoding="utf-8", errors="replace") if _HOSTS.exists() else ""
        for host in hosts:
            (host.root / "hosts").write_text(hosts_file(hosts, machine), encoding="utf-8")

    def command(
        self, host: Host, command: tuple[str, ...], environment: Mapping[str, str], mounts: tuple[Mount, ...]
    ) -> Command:
        """Returns the command that becomes process 1 of the host."""
        # Process 1 ignores what it does not handle; `exec` undoes the trap, so that the entrypoint decides for itself.
        script = "\n".join(("set -e", "trap 'exit 143' TERM", *_mounts(host, mounts), 'exec "$@"'))
        return Command(argv=(*self.unshare, "/bin/sh", "-c", script, "sh", *command), environment=environment)

    def send(self, host: Host, process: subprocess.Popen[bytes], number: signal.Signals) -> None:
        """Signals process 1 of the host: `unshare` itself is its parent and ignores what it should pass on."""
        del host
        for pid in _children(process.pid):
            _signal(pid, number)

    def clear(self, host: Host) -> None:
        """Nothing is left: the kernel ends a namespace with its process 1."""

    def close(self) -> None:
        """Nothing is left."""


def find() -> Namespaces | None:
    """Returns the namespaces that this user may make on this machine; None when there are none.

    Root makes them as it is; others become root of a user namespace, where the kernel lets them.
    """
    setpriv, unshare = shutil.which("setpriv"), shutil.which("unshare")
    if setpriv is None or unshare is None:
        return None
    # A killed `unshare` takes the host along, and is itself killed when whoever rehearses is.
    words = (setpriv, "--pdeathsig", "KILL", "--", unshare, "--mount", "--uts", "--pid", "--fork", "--kill-child=KILL")
    for rights in ((), ("--user", "--map-root-user")):
        candidate = Namespaces(unshare=(*words, "--mount-proc", *rights, "--"))
        if (rights or os.geteuid() == 0) and _works(candidate):
            return candidate
    return None


def _works(candidate: Namespaces) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        script = f"mount --rbind {shlex.quote(folder)} {_OPT} && hostname algo-1"
        probe = (*candidate.unshare, "/bin/sh", "-c", script)
        try:
            done = subprocess.run(probe, capture_output=True, timeout=_PROBE_S, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return False
        return done.returncode == 0


def _mounts(host: Host, mounts: tuple[Mount, ...]) -> Iterator[str]:
    # The environment is the container's, and its PATH may lack what these lines need.
    mount = f"{shlex.quote(shutil.which('mount') or 'mount')} --rbind"
    yield f"{shlex.quote(shutil.which('hostname') or 'hostname')} {shlex.quote(host.name)}"
    yield f"{mount} {shlex.quote(str(host.root / 'hosts'))} {_HOSTS}"
    if Path(ML).is_dir():
        yield f"{mount} {shlex.quote(str(host.ml))} {ML}"
    else:
        for entry in _places_of_opt(host):
            yield f"{mount} {shlex.quote(str(_OPT / entry))} {shlex.quote(str(host.root / 'opt' / entry))}"
        yield f"{mount} {shlex.quote(str(host.root / 'opt'))} {_OPT}"
    for each in mounts:
        yield f"{mount} {shlex.quote(str(each.source))} {shlex.quote(each.path)}"
        if each.read_only:
            yield f"{mount.removesuffix('--rbind')}-o remount,bind,ro {shlex.quote(each.path)}"


def _places_of_opt(host: Host) -> Iterator[str]:
    """Makes a place for each entry of this machine's `/opt` beside the host's `ml`, and yields its name.

    Making `/opt/ml` on the machine itself would leave a trace of every rehearsal.
    """
    for entry in sorted(_OPT.iterdir()):
        place = host.root / "opt" / entry.name
        if entry.is_symlink():
            if not place.is_symlink():
                place.symlink_to(entry.readlink())
        elif entry.is_dir():
            place.mkdir(exist_ok=True)
            yield entry.name
        else:
            place.touch()
            yield entry.name


def _children(parent: int) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == parent:
                yield int(entry.name)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
