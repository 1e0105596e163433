"""The way to a login node over ssh: the user's own OpenSSH client, his ssh_config and his keys."""

from __future__ import annotations

import base64
import os
import re
import stat
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from smtrain.plugin import ExitCode, SmtrainError, fail, shell
from smtrain_hyperpod.transport import ssh_refusals
from smtrain_hyperpod.transport.way import ARRIVED

_HOST = re.compile(r"[A-Za-z0-9_.\[][A-Za-z0-9_.@:%+\[\]/-]*")

# Whatever the user's ssh_config says: nobody is there to type, and only the command's own output may come back.
_ALWAYS = (
    *("-T", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-o", "ClearAllForwardings=yes"),
    *("-o", "RemoteCommand=none", "-o", "PermitLocalCommand=no"),
)
# Unless it says something: (keyword as `ssh -G` prints it, what that prints when nothing was said, our option).
_OTHERWISE = (
    ("connecttimeout", "none", "ConnectTimeout=30"),
    ("serveraliveinterval", "0", "ServerAliveInterval=15"),
    ("serveralivecountmax", "3", "ServerAliveCountMax=4"),
)
# What ssh sends is read by the user's own shell first: bash, zsh, fish and csh quote differently, and agree on words of
# these alone, and on a text in single quotes with no backslash in it.
_PLAIN = re.compile(r"[A-Za-z0-9_./:,+-][A-Za-z0-9_./:,+@=-]*|")
_DECODED = (
    'for w; do case $w in @*) w=$(base64 -d <<<"${w#@}"; echo x); w=${w%x};; esac; a+=("$w"); done; set -- "${a[@]}"'
)

_CONTROL = Path("/tmp")  # short, since the path of a socket must be; the folder in it is the user's own
_CONTROL_PERSIST_S = 60
_SSH_FAILED = 255
_PROXY_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Ssh:
    """The login node is a host of the user's ssh_config, or anything else that `ssh` takes.

    Attributes:
      host: its name there.
      options: of `ssh`.
      proxied: whether a ProxyCommand leads there.
      python: the Python 3 there.
    """

    host: str
    options: tuple[str, ...]
    proxied: bool = False
    python: str = "python3"

    @property
    def name(self) -> str:
        """How to name the node in messages."""
        return self.host

    def words(self, argv: Sequence[str]) -> tuple[str, ...]:
        """Returns the ssh command of a command there, started by a login shell, for the PATH that people have."""
        there = ("exec", "bash", "-lc", f"{_DECODED}; {ARRIVED}", "bash", *map(_encoded, argv))
        return ("ssh", *self.options, "--", self.host, shell.command(there))

    def refusal(self, code: int, stderr: str) -> SmtrainError:
        """Returns why the host let nobody in."""
        if self.proxied and ssh_refusals.is_vague(stderr):
            stderr = self._alone() or stderr
        return ssh_refusals.explained(self.host, code, stderr)

    def _alone(self) -> str:
        """Returns what is said to a connection that will not be shared: of others, ssh drops what their proxy says."""
        alone = ("-o", "ControlPath=none", "-o", "ControlPersist=no")  # the first that is said counts
        words = ("ssh", *alone, *self.options, "--", self.host, "true")
        try:
            return subprocess.run(words, capture_output=True, text=True, timeout=_PROXY_S, check=False).stderr
        except subprocess.TimeoutExpired:
            return ""

    def broke(self, code: int, stderr: str) -> SmtrainError | None:
        """Returns that the connection broke, which ssh tells by an exit code that commands may have as well."""
        return ssh_refusals.broken(self.host, stderr) if code == _SSH_FAILED else None


def ssh(host: str, *, key: str = "") -> Ssh:
    """Returns the way to a host.

    Args:
      host: as `ssh` takes it.
      key: of the configuration, which named the host.

    Raises:
      SmtrainError: it can be no host, there is no OpenSSH client here, or its configuration is damaged.
    """
    if not _HOST.fullmatch(host):
        fix = "Take the name of a host in your ssh_config, or USER@HOST."
        what = f"`{host}` is no name of a host."
        raise fail(what, fix, key=key)
    settings = _settings(host)
    proxied = settings.get("proxycommand", "none") != "none"
    return Ssh(host=host, options=(*_ALWAYS, *_unless_said(settings)), proxied=proxied)


def _encoded(word: str) -> str:
    """Returns a word as every shell leaves it alone: in base64, behind an @, unless it is plain."""
    return word if _PLAIN.fullmatch(word) else f"@{base64.b64encode(os.fsencode(word)).decode()}"


def _settings(host: str) -> Mapping[str, str]:
    """Returns what ssh would do for a host, by what its configuration files say; asks nobody."""
    try:
        done = subprocess.run(("ssh", "-G", "--", host), capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        what = "There is no `ssh` on this machine."
        raise fail(what, "Install OpenSSH's client.", code=ExitCode.MISSING_HERE) from error
    if done.returncode:
        raise ssh_refusals.explained(host, done.returncode, done.stderr)
    return dict(line.partition(" ")[::2] for line in done.stdout.splitlines())


def _unless_said(settings: Mapping[str, str]) -> Iterator[str]:
    for keyword, unsaid, option in _OTHERWISE:
        if settings.get(keyword, unsaid) == unsaid:
            yield from ("-o", option)
    # One handshake for all commands of a minute, which through a proxy takes seconds each.
    if settings.get("controlpath", "none") == "none" and (folder := _control_folder()):
        yield from ("-o", "ControlMaster=auto", "-o", f"ControlPath={folder}/%C")
        yield from ("-o", f"ControlPersist={_CONTROL_PERSIST_S}")


def _control_folder() -> Path | None:
    """Returns the folder for the sockets of shared connections; None when it is not the user's alone."""
    folder = _CONTROL / f"smtrain-ssh-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    return folder if own else None
