"""What the target says through SMTRAIN_* variables."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from smtrain.agent.ending import AgentCode, AgentError


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """This node, and its places.

    Attributes:
      rank: 0 on the first node.
      nodes: how many there are.
      host: name of this one, for messages.
      master: name or address of the first node; "" when there is one node.
      control_port: port on which the first node's agent listens.
      scratch: folder for staged inputs; large and fast.
      outputs: folder that keeps the program's outputs, each under its name.
      run_dir: folder of the run on this node.
      work: working directory of the program.
      model_dir: folder that the platform keeps as the model; None where there is none.
      resume: whether to go on from the newest complete checkpoint.
      output_uri: place of the run in the store, without "/" at the end; "" keeps nothing.
      failure_file: where the reason of a failure goes; None for nowhere.
      python: the interpreter of the trainer's environment.
      grace_s: seconds that the workload has to end after a signal.
    """

    rank: int
    nodes: int
    host: str
    master: str
    control_port: int
    scratch: Path
    outputs: Path
    run_dir: Path
    work: Path
    model_dir: Path | None
    resume: bool
    output_uri: str
    failure_file: Path | None
    python: str
    grace_s: int


def failure_file(environment: Mapping[str, str]) -> Path | None:
    """Returns where the reason of a failure goes, which must be known before anything can fail."""
    return _path(environment, "SMTRAIN_FAILURE_FILE")


def read(environment: Mapping[str, str]) -> Node:
    """Returns this node.

    Raises:
      AgentError: a variable is missing, or is no number where it must be one.
    """
    nodes = _number(environment, "SMTRAIN_NUM_NODES", "1")
    run_dir = Path(_text(environment, "SMTRAIN_RUN_DIR"))
    return Node(
        rank=_number(environment, "SMTRAIN_NODE_RANK", "0"),
        nodes=nodes,
        host=environment.get("SMTRAIN_HOST") or os.uname().nodename,
        master=_text(environment, "SMTRAIN_MASTER_ADDR") if nodes > 1 else "",
        control_port=_number(environment, "SMTRAIN_MASTER_PORT") + 1 if nodes > 1 else 0,
        scratch=Path(_text(environment, "SMTRAIN_SCRATCH_DIR")),
        outputs=Path(_text(environment, "SMTRAIN_OUTPUT_DIR")),
        run_dir=run_dir,
        work=_path(environment, "SMTRAIN_WORK") or run_dir / "work",
        model_dir=_path(environment, "SMTRAIN_PLATFORM_MODEL_DIR"),
        resume=environment.get("SMTRAIN_RESUME", "auto") == "auto",
        output_uri=environment.get("SMTRAIN_OUTPUT_URI", "").rstrip("/"),
        failure_file=failure_file(environment),
        python=environment.get("SMTRAIN_PYTHON") or sys.executable,
        grace_s=_number(environment, "SMTRAIN_GRACE_S", "60"),
    )


def _text(environment: Mapping[str, str], name: str, default: str = "") -> str:
    value = environment.get(name) or default
    if not value:
        raise AgentError(AgentCode.BAD_PLAN, f"the variable {name} is not set")
    return value


def _number(environment: Mapping[str, str], name: str, default: str = "") -> int:
    value = _text(environment, name, default)
    try:
        return int(value)
    except ValueError:
        raise AgentError(AgentCode.BAD_PLAN, f"the variable {name} is no whole number: {value!r}") from None


def _path(environment: Mapping[str, str], name: str) -> Path | None:
    value = environment.get(name)
    return Path(value) if value else None
