"""`smtrain import TOOL FILE`: another tool's configuration as one of ours."""

from __future__ import annotations

from pathlib import Path

from smtrain.command_line import CommandLine
from smtrain.console import Console
from smtrain.errors import ExitCode, fail
from smtrain.registry import Registry


def import_config(line: CommandLine, console: Console) -> ExitCode:
    """Turns another tool's configuration into an experiment config."""
    options = line.options
    path = Path(options.file)
    if not path.is_file():
        raise fail(what=f"There is no file `{path}`.", fix="Give the other tool's configuration file.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise fail(
            what=f"`{path}` is not UTF-8 text: {error}.", fix="Give the other tool's configuration file."
        ) from error
    config = Registry().importer(options.tool).convert(text, source=str(path), root=Path(options.root))
    if options.output:
        Path(options.output).parent.mkdir(parents=True, exist_ok=True)
        Path(options.output).write_text(config, encoding="utf-8")
        console.say(f"wrote {options.output}")
    else:
        console.say(config.rstrip("\n"))
    console.result({"config": config, "written": options.output})
    return ExitCode.DONE
