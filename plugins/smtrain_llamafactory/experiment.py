"""An experiment config of smtrain as YAML text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from smtrain.plugin import Json
from smtrain_llamafactory import document, yaml_text

_BEFORE_INTERPOLATION = re.compile(r"(\\*)\$\{")


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """What an imported configuration becomes.

    Attributes:
      source: file it came from.
      choices: config group → option.
      settings: section or setting → value.
      trainer: options of the trainer.
    """

    source: str
    choices: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Json] = field(default_factory=dict)
    trainer: Mapping[str, Json] = field(default_factory=dict)


def render(experiment: Experiment) -> str:
    """Returns the YAML: choices first, then settings, then LLaMA-Factory's arguments in their groups."""
    lines = ["# @package _global_", f"# Imported from {' '.join(experiment.source.split())}.", "defaults:"]
    lines += [f"  - override /{group}: {option}" for group, option in experiment.choices.items()]
    if not experiment.choices:
        lines.pop()
    for name, value in experiment.settings.items():
        lines += ["", *_entry(name, value, "")] if isinstance(value, dict) else _entry(name, value, "")
    if experiment.trainer:
        options = {name: value for name, value in experiment.trainer.items() if name != "args"}
        lines += ["", "trainer:"]
        for name, value in options.items():
            lines += _entry(name, value, "  ")
        lines += _args(experiment.trainer.get("args", {}))
    return "\n".join(lines) + "\n"


def escaped(value: Json) -> Json:
    """Returns a value that OmegaConf resolves to the given one: `${` in its strings is text, no interpolation."""
    match value:
        case str():
            return _BEFORE_INTERPOLATION.sub(lambda found: f"{found[1] * 2}\\${{", value)
        case list():
            return [escaped(item) for item in value]
        case dict():
            return {key: escaped(item) for key, item in value.items()}
    return value


def _args(args: Json) -> Iterator[str]:
    if not isinstance(args, dict) or not args:
        yield "  args: {}"
        return
    yield "  args:"
    for title, names in document.grouped(args):
        yield f"    ### {title}"
        for name in names:
            yield f"    {yaml_text.line(name, escaped(args[name]))}"


def _entry(name: str, value: Json, indent: str) -> Iterator[str]:
    if isinstance(value, dict) and value:
        yield f"{indent}{name}:"
        for key, item in value.items():
            yield from _entry(key, item, indent + "  ")
    else:
        yield f"{indent}{yaml_text.line(name, escaped(value))}"
