"""What of this machine stands in for a job's inputs in a rehearsal: `--input NAME=PATH`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

from smtrain.plugin import Json, Problem, shell
from smtrain.plugin import suggest as suggestions


def variables(inputs: Mapping[str, Path]) -> dict[str, str]:
    """Returns the variables that name them: what has one, launch.sh leaves, and the agent does not stage."""
    return {shell.input_variable(name): str(path) for name, path in inputs.items()}


def problems(bundle: Path, inputs: Mapping[str, Path], *, travelling: frozenset[str]) -> Iterator[Problem]:
    """Yields each that would be ignored.

    Args:
      bundle: the bundle's folder.
      inputs: name → file or folder of this machine.
      travelling: the S3 URIs whose files are in the bundle.
    """
    request = json.loads((bundle / "request.json").read_text(encoding="utf-8"))
    agent = json.loads((bundle / "agent.json").read_text(encoding="utf-8"))
    launch = (bundle / "launch.sh").read_text(encoding="utf-8")
    channels = {str(channel["ChannelName"]): _uri(channel) for channel in request.get("InputDataConfig", ())}
    staged = {str(item["name"]) for item in agent["inputs"]}
    ours = {name for name, uri in channels.items() if uri in travelling}
    known = (channels.keys() - ours) | staged
    for name in sorted(inputs):
        if name in ours:
            what = f"`--input {name}`: it travels with the bundle, as it is."
            yield Problem(key="", what=what, fix="Leave it out.")
        elif name not in known and f"\n{shell.input_variable(name)}=" not in launch:
            what = f"`--input {name}`: the run has no such input."
            yield Problem(key="", what=what, fix=suggestions.did_you_mean(name, known) or "Leave it out.")


def _uri(channel: Mapping[str, Json]) -> str:
    source = cast("dict[str, dict[str, str]]", channel["DataSource"])
    return source.get("S3DataSource", {}).get("S3Uri", "")
