"""What of this machine stands in for a run's inputs in a rehearsal: `--input NAME=PATH`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from smtrain.plugin import Problem, shell, suggest


def variables(inputs: Mapping[str, Path]) -> dict[str, str]:
    """Returns the variables that name them: what has one, node.sh leaves, and the agent does not stage."""
    return {shell.input_variable(name): str(path) for name, path in inputs.items()}


def problems(bundle: Path, inputs: Mapping[str, Path]) -> Iterator[Problem]:
    """Yields each that would be ignored."""
    agent = json.loads((bundle / "agent.json").read_text(encoding="utf-8"))
    staged = {str(item["name"]) for item in agent["inputs"]}
    node = (bundle / "node.sh").read_text(encoding="utf-8")
    for name in sorted(inputs):
        variable = shell.input_variable(name)
        if f"export {variable}=${{{variable}:-" not in node and name not in staged:
            travels = (bundle / "inputs" / name).exists()
            what = "it travels with the bundle, as it is." if travels else "the run has no such input."
            fix = "Leave it out." if travels else suggest.did_you_mean(name, staged) or "Leave it out."
            yield Problem(key="", what=f"`--input {name}`: {what}", fix=fix)
