"""The ways to a login node: how its commands are started from here. `ThisMachine` is the one with nothing between."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from smtrain.plugin import ExitCode, SmtrainError, fail

MARK = "smtrain:here"
"""What is printed before the command's own output: whatever a profile prints comes earlier, and is dropped."""

LACKING = "smtrain:lacking"
"""The same, when there is no such program."""

ARRIVED = f'type -P -- "$1" >/dev/null || {{ echo {LACKING}; exit 127; }}; echo {MARK}; exec "$@"'
"""Bash source that says that it is there, and becomes the command that its arguments are."""


class Way(Protocol):
    """How to get to a login node."""

    @property
    def name(self) -> str:
        """How to name the node in messages."""
        ...

    @property
    def python(self) -> str:
        """The Python 3 there."""
        ...

    def words(self, argv: Sequence[str]) -> tuple[str, ...]:
        """Returns the command of this machine that prints MARK, or LACKING, and then runs a command there."""
        ...

    def refusal(self, code: int, stderr: str) -> SmtrainError:
        """Returns why a command never ran, from what its `words` ended with."""
        ...

    def broke(self, code: int, stderr: str) -> SmtrainError | None:
        """Returns that the connection broke while a command ran; None when the exit code is the command's own."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ThisMachine:
    """The login node is this machine.

    Attributes:
      python: the interpreter that runs this.
    """

    python: str

    @property
    def name(self) -> str:
        """How to name the node in messages."""
        return "this machine"

    def words(self, argv: Sequence[str]) -> tuple[str, ...]:
        """Returns the command that becomes another one."""
        return ("bash", "-c", ARRIVED, "bash", *argv)

    def refusal(self, code: int, stderr: str) -> SmtrainError:
        """Returns that bash itself failed."""
        return fail(f"bash ended with {code}: {last_line(stderr)}", code=ExitCode.MISSING_HERE)

    def broke(self, code: int, stderr: str) -> SmtrainError | None:
        """Nothing is between."""
        del code, stderr
        return None


def last_line(text: str) -> str:
    """Returns the last line that says anything."""
    lines = [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]
    return lines[-1] if lines else "it said nothing."
