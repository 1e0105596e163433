"""What a login node is to the backends: a place where commands run, and where files go to and come from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from smtrain.plugin import Observer

READ_LIMIT = 1 << 20
"""Bytes of one file that one reading brings; a log that is longer takes several."""


MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A command that ran on the login node.

    Attributes:
      argv: its words.
      code: its exit code.
      stdout: what it printed.
      stderr: what it complained of.
    """

    argv: tuple[str, ...]
    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What a copy came to.

    Attributes:
      path: the folder there, as an absolute path.
      files_sent: files that were not there.
      bytes_sent: their bytes, without those that a copy that broke off had brought before.
    """

    path: str
    files_sent: int = 0
    bytes_sent: int = 0


class LoginNode(Protocol):
    """A machine from which jobs are submitted. Whatever fails for want of the machine itself is a SmtrainError."""

    @property
    def name(self) -> str:
        """How to name it in messages, e.g. "hyperpod-login" or "this machine"."""
        ...

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float | None = None) -> Completed:
        """Runs a command, as whoever logs in there would, and returns what came of it, whatever its exit code.

        Args:
          argv: its words; they arrive as they are, whatever they hold.
          stdin: what it reads.
          timeout_s: after which it is given up.

        Raises:
          SmtrainError: the machine cannot be reached, has no such program, or the time was over.
        """
        ...

    def copy(
        self, folder: Path, *, to: str, store: str, observer: Observer, skip: Collection[str] = (MANIFEST,)
    ) -> Copied:
        """Brings a folder there, complete or not at all.

        Args:
          folder: of this machine; its plain files are copied.
          to: path there; relative to the home folder with `~/`. It must not be there, or hold the same.
          store: folder there, on the same file system, that keeps files by digest, so that none is sent twice.
          observer: is told in a line what was done.
          skip: paths in the folder that stay here; a bundle's manifest tells, too, with what it was compiled here.

        Raises:
          SmtrainError: it did not come to that; asking again goes on where this one broke off.
        """
        ...

    def read(self, offsets: Mapping[str, int], *, limit: int = READ_LIMIT) -> Mapping[str, bytes]:
        """Returns what files there hold from an offset on; those that are not there are left out.

        Args:
          offsets: path → offset in bytes.
          limit: bytes of each file, at most.
        """
        ...

    def fetch(self, path: str, to: Path, *, observer: Observer) -> tuple[Path, ...]:
        """Brings a file or a folder from there, and returns the files that came or were here already.

        A file that is here with the same size and time is not sent again. What comes is put in place once all of it
        is here, and verified.

        Args:
          path: there.
          to: path here of the file or folder itself.
          observer: is told in a line what was done.

        Raises:
          SmtrainError: there is nothing, or the connection broke; asking again goes on.
        """
        ...
