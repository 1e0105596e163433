"""An order for `on_node.py`: the program is sent to the login node, told what to do, and talked to."""

from __future__ import annotations

import contextlib
import functools
import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from smtrain.plugin import ExitCode, Json, SmtrainError, fail
from smtrain_hyperpod.transport import node_refusals
from smtrain_hyperpod.transport.way import LACKING, MARK, Way

_BOOT = 'import sys;exec(compile(sys.stdin.buffer.read({size}),"on_node.py","exec"))'
"""The program itself comes over standard input, which no shell on the way looks at."""

_NOISE = 1 << 20
"""Bytes that a profile may print before the program's own; more of it is no shell to work with."""


@dataclass(frozen=True, slots=True)
class Session:
    """The program on the login node, which has its order.

    Attributes:
      way: to the login node.
      process: of this machine, through which it is talked to.
      complaints: what that and the program print on standard error.
    """

    way: Way
    process: subprocess.Popen[bytes]
    complaints: IO[bytes]

    @property
    def stdin(self) -> IO[bytes]:
        """What the program reads."""
        return cast("IO[bytes]", self.process.stdin)

    @property
    def stdout(self) -> IO[bytes]:
        """What the program prints."""
        return cast("IO[bytes]", self.process.stdout)

    def send(self, data: bytes) -> bool:
        """Sends bytes; returns False when nobody takes them any more: the answer says why."""
        try:
            self.stdin.write(data)
            self.stdin.flush()
        except BrokenPipeError:
            return False
        return True

    def answer(self) -> Mapping[str, Json]:
        """Returns the program's next answer.

        Raises:
          SmtrainError: the login node refused the order, or the connection broke.
        """
        line = self.stdout.readline()
        if not line.endswith(b"\n"):
            raise self.broken()
        document = cast("dict[str, Json]", json.loads(line))
        if "refused" in document:
            raise node_refusals.explained(self.way.name, cast("dict[str, str]", document["refused"]))
        return document

    def take(self, count: int) -> bytes:
        """Returns so many bytes of what the program prints."""
        data = self.stdout.read(count)
        if len(data) != count:
            raise self.broken()
        return data

    def broken(self) -> SmtrainError:
        """Returns why the program is gone before its time."""
        code, text = self._ended()
        return self.way.broke(code, text) or node_refusals.ended(self.way.name, code, text)

    def arrive(self) -> None:
        """Waits until the program runs there.

        Raises:
          SmtrainError: it never will.
        """
        for line in iter(lambda: self.stdout.readline(_NOISE), b""):
            if line.strip() == MARK.encode():
                return
            if line.strip() == LACKING.encode():
                raise node_refusals.lacking(self.way.name, self.way.python)
        raise self.way.refusal(*self._ended())

    def _ended(self) -> tuple[int, str]:
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()
        code = self.process.wait()
        self.complaints.seek(0)
        return code, self.complaints.read().decode(errors="replace")


@contextlib.contextmanager
def order(way: Way, document: Mapping[str, Json]) -> Iterator[Session]:
    """Gives an order to a login node; when the block ends, so has the program.

    Raises:
      SmtrainError: it cannot be reached, or has no Python.
    """
    program = _program()
    words = way.words((way.python, "-c", _BOOT.format(size=len(program))))
    with tempfile.TemporaryFile() as complaints, _started(words, complaints) as process:
        session = Session(way, process, complaints)
        session.arrive()
        session.send(program + json.dumps(document).encode() + b"\n")
        yield session


@contextlib.contextmanager
def _started(words: tuple[str, ...], complaints: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints)
    except FileNotFoundError as error:
        what = f"There is no `{words[0]}` on this machine."
        raise fail(what, "Install it.", code=ExitCode.MISSING_HERE) from error
    try:
        yield process
    finally:
        process.kill()
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(BrokenPipeError):
                cast("IO[bytes]", stream).close()
        process.wait()


@functools.cache
def _program() -> bytes:
    return Path(__file__).with_name("on_node.py").read_bytes()
