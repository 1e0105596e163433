"""`python3 agent AGENT.json -- COMMAND…`: reads what the target says, and runs the job; `--install` only installs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from smtrain.agent import end_file, node, plan
from smtrain.agent.ending import AgentCode, AgentError, say
from smtrain.agent.interruption import Interruption
from smtrain.agent.parallel import Begun
from smtrain.agent.staging import stage
from smtrain.agent.stores import Stores


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the agent; returns its exit code: the command's own, or one of `AgentCode`."""
    try:
        path, command = _split(list(sys.argv[1:] if arguments is None else arguments))
        here = node.read(os.environ)
        planned = plan.load(path, os.environ)
        if not command:
            from smtrain.agent.install import install

            install(planned.install, here.python, here.scratch)
            return 0
    except AgentError as error:
        return _refuse(error)
    interruption = Interruption(node=here.rank, host=here.host)
    interruption.listen()
    end_file.watch(os.environ, here, interruption.end)
    stores = Stores(os.environ, tools=here.scratch / "tools", python=here.python, may_install=planned.install.allowed)
    # Whoever rehearses may say where an input is already.
    missing = tuple(item for item in planned.inputs if not os.environ.get(item.variable))
    # Nothing takes longer: it goes on beside everything else that there is to prepare, the rest of the agent included.
    staged = Begun(lambda: stage(missing, stores, here.scratch))
    from smtrain.agent.job import Job

    return Job(here, planned, command, interruption=interruption, stores=stores, staged=staged).run()


def _split(words: list[str]) -> tuple[Path, tuple[str, ...]]:
    if words[1:] == ["--install"]:
        return Path(words[0]), ()
    if len(words) < len(("AGENT.json", "--", "COMMAND")) or words[1] != "--":
        raise AgentError(AgentCode.BAD_PLAN, "usage: python3 agent AGENT.json -- COMMAND..., or --install")
    return Path(words[0]), tuple(words[2:])


def _refuse(error: AgentError) -> int:
    from smtrain.agent import failure

    for line in (error.reason, *error.details):
        say(line)
    failure.write(node.failure_file(os.environ), error.reason[: failure.LIMIT])
    return error.code
