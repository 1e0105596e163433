"""The command: argv, exit codes, and which verb does what."""

from __future__ import annotations

import importlib
import importlib.metadata
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from smtrain import command_line
from smtrain.command_line import VERBS, CommandLine
from smtrain.console import Console
from smtrain.errors import ExitCode, SmtrainError, fail

Verb = Callable[[CommandLine, Console], ExitCode]

_VERB_LINES = "\n".join(f"  {verb:<10}{meaning}" for verb, meaning in VERBS.items())

HELP = f"""\
smtrain: compile a fine-tuning configuration and run it where you say.

  smtrain [run|plan] GROUP=OPTION… KEY=VALUE…   e.g. smtrain plan trainer=lf_sft data=alpaca data.path=rows.jsonl
  smtrain -m KEY=A,B …                          a sweep
  smtrain VERB --help                           the verb's own flags

{_VERB_LINES}

Plugins may bring further commands: smtrain plugins lists them, and each tells its flags with --help.
Hydra's flags keep working: -m, --cfg job, --info defaults, --config-dir DIR, --shell-completion install=bash.
Every verb takes --json. Exit codes: 0 done, 1 the workload failed, 2 the configuration is wrong, 3 a plugin is broken,
4 something is missing here, 5 the remote side refused, 130 interrupted."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    _open_streams()
    console = Console(as_json="--json" in words)
    try:
        code = _done(words, console)
        sys.stdout.flush()  # what cannot be written is told here, and not by the interpreter at its exit
    except SmtrainError as error:
        console.failure(error)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has left; what we still hold for them goes nowhere.
        _let_go()
        return ExitCode.DONE
    except OSError as error:
        # A disk that is full, a folder that may not be read: nothing that smtrain did wrong.
        _let_go()
        failed = fail(_of_the_machine(error), "Mend that, and try again.", code=ExitCode.MISSING_HERE)
        console.failure(failed)
        return failed.exit_code
    else:
        return code


def _done(words: list[str], console: Console) -> int:
    if words and words[0] in ("-h", "--help", "help"):
        print(HELP)
        return ExitCode.DONE
    if words and words[0] == "--version":
        print(f"smtrain {importlib.metadata.version('smtrain')}")
        return ExitCode.DONE
    line = command_line.parse(words)
    return _function(line)(line, console)


def _open_streams() -> None:
    """Makes stdout and stderr take every word: one may be closed, and the locale's encoding may lack a character."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  # open for good
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _let_go() -> None:
    """Gives up what stdout holds and cannot write, which the interpreter would try again at its exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _of_the_machine(error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"`{error.filename}`: {reason}." if error.filename else f"{reason}."


VERB_FUNCTIONS = {
    "run": "smtrain.verbs.run:run",
    "plan": "smtrain.verbs.plan:plan",
    "submit": "smtrain.verbs.run:submit",
    "explain": "smtrain.verbs.explain:explain",
    "diff": "smtrain.verbs.diff:diff",
    "rehearse": "smtrain.verbs.rehearse:rehearse",
    "doctor": "smtrain.verbs.doctor:doctor",
    "ps": "smtrain.verbs.follow:ps",
    "status": "smtrain.verbs.follow:status",
    "logs": "smtrain.verbs.follow:logs",
    "stop": "smtrain.verbs.follow:stop",
    "fetch": "smtrain.verbs.fetch:fetch",
    "import": "smtrain.verbs.import_config:import_config",
    "plugins": "smtrain.verbs.plugins:plugins",
}
"""Verb → the function that does it, imported only then."""


def _function(line: CommandLine) -> Verb:
    if line.asks_help:
        return _help
    module, _, name = _address(line).partition(":")
    return cast(Verb, getattr(importlib.import_module(module), name))


def _address(line: CommandLine) -> str:
    if line.asks_hydra:
        return "smtrain.verbs.hydra:dispatch"
    return VERB_FUNCTIONS[line.verb] if line.command is None else "smtrain.verbs.command:command"


def _help(line: CommandLine, console: Console) -> ExitCode:
    if line.command is not None:
        console.say(line.command.help())
        console.result({spec.name: spec.summary for spec in line.command.offers})
        return ExitCode.DONE
    console.say(HELP)
    if line.verb in command_line.OWN_FLAGS:
        console.say(f"\nFlags of {line.verb}:\n{command_line.OWN_FLAGS[line.verb]}")
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
