"""`smtrain plugins`: what the plugins offer, and what is broken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from smtrain.command_line import CommandLine
from smtrain.console import Console
from smtrain.errors import ExitCode
from smtrain.registry import Registry
from smtrain.spec import Json

if TYPE_CHECKING:
    from smtrain.registry import AnySpec


def plugins(_: CommandLine, console: Console) -> ExitCode:
    """Lists what the plugins offer, and what is broken."""
    registry = Registry()
    offers: dict[str, Mapping[str, AnySpec]] = {
        "trainer": registry.trainers,
        "backend": registry.backends,
        "importer": registry.importers,
        "command": registry.commands,
    }
    document: dict[str, Json] = {}
    for kind, specs in offers.items():
        rows = [(spec.name, spec.summary, str(registry.source_of(spec))) for spec in specs.values()]
        document[kind] = [{"name": name, "summary": summary, "from": source} for name, summary, source in rows]
        console.rows((kind, f"{name:<18} {summary}  [{source}]") for name, summary, source in rows)
    broken = [item.problem() for item in registry.broken]
    console.problems(broken)
    console.result({**document, "broken": [problem.what for problem in broken]})
    return ExitCode.BROKEN_PLUGIN if broken else ExitCode.DONE
