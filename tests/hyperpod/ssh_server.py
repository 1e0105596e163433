"""A real sshd on loopback for tests, and an `ssh` that knows its hosts; each host is another address of one server."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

# Addresses tell the hosts apart: ssh shares a connection with whatever has the same address, port and user.
_ADDRESSES = {
    "login": "127.0.0.1",
    "changed": "127.0.0.2",
    "unknown": "127.0.0.3",
    "wants-password": "127.0.0.4",
    "noisy": "127.0.0.5",
    "bare": "127.0.0.6",
    "slow": "127.0.0.7",
    "proxied": "127.0.0.8",
    "off": "127.0.0.11",
    "fish": "127.0.0.9",
    "zsh": "127.0.0.10",
}
_PROFILES = {"noisy": "echo 'Welcome!'\necho 'Maintenance on Monday.' >&2\n", "bare": "PATH=/nowhere\n"}
"""What a login shell reads on the hosts that have a home folder of their own."""

# What the `slow` host is reached through: some 20 MB a second.
_THROTTLE = """\
import os, select, socket, sys, time
there = socket.create_connection((sys.argv[1], int(sys.argv[2])))
ways = {0: there.fileno(), there.fileno(): 1}
while True:
    for end in select.select(list(ways), [], [])[0]:
        data = os.read(end, 65536)
        if not data:
            sys.exit()
        while data:
            data = data[os.write(ways[end], data):]
        time.sleep(0.003)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SshServer:
    """A server that is up, and lets this user in by key.

    Its hosts are `login`; `changed`, whose host key is another; `unknown`, whose host key nobody knows;
    `wants-password`; `noisy`, whose profile prints; `bare`, which has no programs; `slow`; `proxied`, which is reached
    by a ProxyCommand; `off`, whose ProxyCommand fails; `fish` and `zsh`, where these are the login shells; and `down`,
    where nothing listens.

    Attributes:
      folder: where its files are.
    """

    folder: Path

    @property
    def profile(self) -> Path:
        """What a login shell reads on most hosts: it sets PATH as this process has it. A test may add to it."""
        return self.folder / "home" / ".bash_profile"

    def environment(self) -> dict[str, str]:
        """Returns this process's environment, with an `ssh` that knows the hosts."""
        return {**os.environ, "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}


def needs_sshd() -> str:
    """Returns the path of sshd; leaves the test out, saying so, where there is none."""
    path = shutil.which("sshd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if path is None:
        pytest.skip("Debian's package openssh-server is not installed; `make test` installs it where it may")
    return path


@contextmanager
def serve(folder: Path) -> Iterator[SshServer]:
    """Runs a server."""
    sshd, port = needs_sshd(), _free_port()
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # compiled into Debian's sshd
    for name in ("host", "other", "user"):
        key = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
        subprocess.run(key, check=True, stdin=subprocess.DEVNULL)
    path = f"export PATH={shlex.quote(f'{Path(sys.executable).parent}:' + os.environ['PATH'])}\n"
    for name, profile in {"home": path, **{f"home-{name}": path + text for name, text in _PROFILES.items()}}.items():
        (folder / name).mkdir()
        (folder / name / ".bash_profile").write_text(profile)
    (folder / "sshd_config").write_text(_sshd_config(folder, port))
    (folder / "known_hosts").write_text(_known_hosts(folder, port))
    (folder / "throttle.py").write_text(_THROTTLE)
    _write_client(folder, port)
    log = (folder / "sshd.log").open("wb")
    server = subprocess.Popen((sshd, "-D", "-e", "-f", folder / "sshd_config"), stderr=log, stdin=subprocess.DEVNULL)
    try:
        _wait_until_up(server, port, folder / "sshd.log")
        yield SshServer(folder=folder)
    finally:
        for host in _ADDRESSES:
            # Connections are kept for a minute, by processes of their own.
            leave = (folder / "bin" / "ssh", "-o", f"ControlPath=/tmp/smtrain-ssh-{os.getuid()}/%C", "-O", "exit", host)
            subprocess.run(leave, check=False, capture_output=True)
        server.kill()
        server.wait()
        log.close()


@pytest.fixture(scope="session")
def ssh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """A server of the session's own."""
    with serve(tmp_path_factory.mktemp("ssh")) as server:
        yield server


def _sshd_config(folder: Path, port: int) -> str:
    lines = [f"ListenAddress {address}:{port}" for address in _ADDRESSES.values()]
    lines += [f"HostKey {folder}/host", f"AuthorizedKeysFile {folder}/user.pub", f"PidFile {folder}/sshd.pid"]
    lines += [
        f"SetEnv HOME={folder}/home",
        "StrictModes no",
        "UsePAM no",
        "PermitRootLogin yes",
        "PasswordAuthentication yes",
        "MaxStartups 100",
    ]
    for name in ("fish", "zsh"):
        lines += [f"Match LocalAddress {_ADDRESSES[name]}", f'ForceCommand exec {name} -c "$SSH_ORIGINAL_COMMAND"']
    for name in _PROFILES:
        lines += [f"Match LocalAddress {_ADDRESSES[name]}", f"SetEnv HOME={folder}/home-{name}"]
    return "\n".join((*lines, ""))


def _known_hosts(folder: Path, port: int) -> str:
    keys = {name: (folder / f"{name}.pub").read_text().rpartition(" ")[0] for name in ("host", "other")}
    known = {name: "other" if name == "changed" else "host" for name in _ADDRESSES if name != "unknown"}
    return "".join(f"[{_ADDRESSES[name]}]:{port} {keys[key]}\n" for name, key in known.items())


def _write_client(folder: Path, port: int) -> None:
    config = folder / "ssh_config"
    extra: Mapping[str, str] = {
        "wants-password": "PubkeyAuthentication no",
        "slow": f"ProxyCommand {sys.executable} {folder}/throttle.py %h %p",
        # As SSM does for a node that is not connected.
        "off": "ProxyCommand sh -c 'echo >&2; echo An error occurred \\(TargetNotConnected\\). >&2; exit 254'",
        "proxied": f"ProxyCommand {folder}/bin/ssh -W 127.0.0.8:%p login",
    }
    hosts = "".join(
        f"Host {name}\nHostName {address}\nPort {port}\n{extra.get(name, '')}\n" for name, address in _ADDRESSES.items()
    )
    config.write_text(
        f"{hosts}Host down\nHostName 127.0.0.1\nPort {_free_port()}\n"
        f"Host *\nUser {pwd.getpwuid(os.getuid()).pw_name}\nIdentityFile {folder}/user\nIdentitiesOnly yes\n"
        f"UserKnownHostsFile {folder}/known_hosts\nGlobalKnownHostsFile /dev/null\nIdentityAgent none\n"
    )
    wrapper = folder / "bin" / "ssh"
    wrapper.parent.mkdir()
    # ssh looks for its configuration in the home folder of the account, whatever HOME says.
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {config} "$@"\n')
    wrapper.chmod(0o755)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
        assert isinstance(port, int)
        return port


def _wait_until_up(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"sshd did not come up:\n{log.read_text(errors='replace')}")
