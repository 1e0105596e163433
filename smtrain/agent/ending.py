"""How the agent ends when it is not the workload that decides: the exit codes, and the error that carries one."""

from __future__ import annotations

import enum
import sys
from dataclasses import dataclass


class AgentCode(enum.IntEnum):
    """Exit codes of the agent's own, those of sysexits.h; every other code is the workload's."""

    NO_INPUT = 66  # an input, or its bucket, is not there
    NO_PACKAGE = 69  # a package that the program needs could not be installed
    BUG = 70  # the agent itself broke
    DISK_FULL = 73  # no room for what is to be written
    TRANSFER = 74  # a transfer failed, however often it was tried
    PEER_LOST = 75  # another node is gone without a word; another try may succeed
    DENIED = 77  # the role may not, or there are no credentials
    BAD_PLAN = 78  # agent.json, a variable or a secret is not as it must be


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why the run ends, and on which node it began.

    Attributes:
      code: exit code of the run on every node.
      reason: one line, the most telling one.
      node: rank of the node.
      host: its name.
      details: further lines, of falling importance.
    """

    code: int
    reason: str
    node: int
    host: str
    details: tuple[str, ...] = ()


class AgentError(Exception):
    """The agent cannot do its part."""

    def __init__(self, code: AgentCode, reason: str, *details: str) -> None:
        """Keeps the exit code, the reason as one line, and further lines."""
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.details = details


class Stopped(BaseException):
    """A signal, or another node's failure, ends what the agent was doing; no handler of errors may keep it."""

    def __init__(self, failure: Failure) -> None:
        """Keeps why."""
        super().__init__(failure.reason)
        self.failure = failure


def say(text: str) -> None:
    """Writes one line to the log."""
    print(f"smtrain: {text}", file=sys.stderr, flush=True)


def files_of(count: int) -> str:
    """Returns a number of files in words."""
    return f"{count} file" if count == 1 else f"{count} files"
