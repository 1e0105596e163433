"""`python3 agent AGENT.json -- COMMAND…`: reads what the target says, and runs the job."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from smtrain.agent import failure, node, plan
from smtrain.agent.ending import AgentCode, AgentError, say
from smtrain.agent.job import Job


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the agent; returns its exit code: the command's own, or one of `AgentCode`."""
    try:
        path, command = _split(list(sys.argv[1:] if arguments is None else arguments))
        here = node.read(os.environ)
        planned = plan.load(path, os.environ)
    except AgentError as error:
        say(error.reason)
        failure.write(node.failure_file(os.environ), error.reason[: failure.LIMIT])
        return error.code
    return Job(here, planned, command).run()


def _split(words: list[str]) -> tuple[Path, tuple[str, ...]]:
    if len(words) < len(("AGENT.json", "--", "COMMAND")) or words[1] != "--":
        raise AgentError(AgentCode.BAD_PLAN, "usage: python3 agent AGENT.json -- COMMAND...")
    return Path(words[0]), tuple(words[2:])
