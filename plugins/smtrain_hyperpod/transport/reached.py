"""A login node that is reached in one way or another."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from smtrain.plugin import ExitCode, Observer, fail
from smtrain_hyperpod.transport import copying, fetching, node_refusals, reading
from smtrain_hyperpod.transport.login_node import MANIFEST, READ_LIMIT, Completed, Copied, LoginNode
from smtrain_hyperpod.transport.ssh import ssh
from smtrain_hyperpod.transport.way import LACKING, MARK, ThisMachine, Way


def login_node(host: str | None, *, key: str = "") -> LoginNode:
    """Returns a login node; nobody is asked anything yet.

    Args:
      host: as `ssh` takes it; None is this machine itself.
      key: of the configuration, which named the host.

    Raises:
      SmtrainError: it can be no host, there is no OpenSSH client here, or its configuration is damaged.
    """
    return Reached(way=ThisMachine(python=sys.executable) if host is None else ssh(host, key=key))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """A login node, and the way to it."""

    way: Way

    @property
    def name(self) -> str:
        """How to name it in messages."""
        return self.way.name

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float | None = None) -> Completed:
        """Runs a command there; see `LoginNode.run`."""
        words = self.way.words(argv)
        try:
            done = subprocess.run(words, input=stdin, capture_output=True, timeout=timeout_s, check=False)
        except FileNotFoundError as error:
            what = f"There is no `{words[0]}` on this machine."
            raise fail(what, "Install it.", code=ExitCode.MISSING_HERE) from error
        except subprocess.TimeoutExpired as error:
            what = f"{self.name}: `{argv[0]}` took longer than {timeout_s:g} s."
            raise fail(what, "Try again.", code=ExitCode.REMOTE_REFUSED) from error
        stderr = done.stderr.decode(errors="replace")
        mark, stdout = _after_mark(done.stdout)
        if mark == LACKING:
            raise node_refusals.lacking(self.name, argv[0])
        if mark is None:
            raise self.way.refusal(done.returncode, stderr)
        if broke := self.way.broke(done.returncode, stderr):
            raise broke
        return Completed(argv=tuple(argv), code=done.returncode, stdout=stdout.decode(errors="replace"), stderr=stderr)

    def copy(
        self, folder: Path, *, to: str, store: str, observer: Observer, skip: Collection[str] = (MANIFEST,)
    ) -> Copied:
        """Brings a folder there; see `LoginNode.copy`."""
        return copying.copy(self.way, folder, to=to, store=store, observer=observer, skip=skip)

    def read(self, offsets: Mapping[str, int], *, limit: int = READ_LIMIT) -> Mapping[str, bytes]:
        """Returns what files there hold from an offset on; see `LoginNode.read`."""
        return reading.read(self.way, offsets, limit=limit)

    def fetch(self, path: str, to: Path, *, observer: Observer) -> tuple[Path, ...]:
        """Brings a file or a folder from there; see `LoginNode.fetch`."""
        return fetching.fetch(self.way, path, to, observer=observer)


def _after_mark(printed: bytes) -> tuple[str | None, bytes]:
    """Returns which of the marks was printed, and what came after it."""
    rest = printed
    while rest:
        line, _, rest = rest.partition(b"\n")
        if line.strip() in {MARK.encode(), LACKING.encode()}:
            return line.strip().decode(), rest
    return None, b""
