"""The command line, parsed: the verb, our flags, Hydra's own, and those of plugins' commands."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtrain.errors import fail

if TYPE_CHECKING:
    from smtrain.passes.compose import Request
    from smtrain.plugin_commands import PluginCommand

COMPILING = ("run", "plan", "rehearse", "doctor", "explain")
"""Verbs that take overrides."""

VERBS: dict[str, str] = {
    "run": "compile and launch (the verb that no verb means)",
    "plan": "compile, write the bundle, and show what would be launched",
    "submit": "launch a bundle that plan wrote",
    "rehearse": "execute a few steps of it on this machine, as the target would",
    "doctor": "look at the target: credentials, role, bucket, quota, image, data",
    "explain": "tell a key's value, origin, type, default and meaning",
    "diff": "compare two bundles, file by file",
    "ps": "list the runs",
    "status": "tell how a run is doing",
    "logs": "print a run's output (-f follows it)",
    "stop": "end a run, giving it time to save",
    "fetch": "bring the results of a remote run here",
    "import": "turn another tool's configuration into an experiment config",
    "plugins": "list trainers, backends, importers and commands, and what is broken",
}

FETCHABLE = ("model", "checkpoints", "metrics")
"""Parts of a run's results."""

OWN_FLAGS: dict[str, str] = {
    "run": """\
  --yes, -y          do not ask before spending money
  --detach, -d       return once the run has started""",
    "rehearse": """\
  --steps N          optimizer steps to train for (3)
  --timeout S        seconds after which the workload is asked to end (600)
  --input NAME=PATH  a local file or folder in the place of an input that the target has; may be repeated
  --docker           use the real image, with Docker""",
}
"""Flags of verbs that take overrides, beside Hydra's and --json."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """One parsed command line.

    Attributes:
      verb: one of `VERBS`, or the words of a plugin's command.
      options: the flags: Hydra's own and a few of ours for verbs that take overrides, each verb's own otherwise.
      operands: for `explain`, the key.
      request: what to compose, for verbs that take overrides.
      command: the plugin's command that was asked for.
    """

    verb: str
    options: argparse.Namespace
    operands: tuple[str, ...] = ()
    request: Request | None = None
    command: PluginCommand | None = None

    @property
    def composable(self) -> Request:
        """The request of a verb that takes overrides."""
        if self.request is None:
            message = f"`{self.verb}` takes no overrides"
            raise AssertionError(message)
        return self.request

    @property
    def asks_help(self) -> bool:
        """Whether it asks what a verb that takes overrides is for."""
        return (self.request is not None or self.command is not None) and bool(self.options.help)

    @property
    def asks_hydra(self) -> bool:
        """Whether a flag asks for something that Hydra does itself."""
        flags = ("multirun", "cfg", "info", "hydra_help", "shell_completion")
        return self.request is not None and any(getattr(self.options, flag) for flag in flags)


_WORD = re.compile(r"[A-Za-z][A-Za-z0-9-]*")


def parse(argv: Sequence[str]) -> CommandLine:
    """Parses a command line; argparse's own exit with code 2 and usage is left to happen.

    A line that begins with a plain word which is none of our verbs may be for a plugin's command; only then are the
    plugins looked at here.

    Raises:
      SmtrainError: it begins with a word that is neither a verb, nor a command, nor an override; or its verb stands
        elsewhere.
    """
    first = argv[0] if argv else "run"
    if first in VERBS:
        verb, rest = first, list(argv[1:])
        return _compiling(verb, rest) if verb in COMPILING else _plain(verb, rest)
    if first.isalpha() or _WORD.fullmatch(first):
        return _of_a_plugin(argv)
    return _compiling("run", list(argv))


def _of_a_plugin(argv: Sequence[str]) -> CommandLine:
    from smtrain import plugin_commands

    command, rest = plugin_commands.find(argv, VERBS)
    if command.only_lists or {"-h", "--help"} & set(rest):
        return CommandLine(verb=command.words, options=argparse.Namespace(help=True), command=command)
    return _compiling(command.words, rest, command)


def _compiling(verb: str, rest: list[str], command: PluginCommand | None = None) -> CommandLine:
    # Hydra takes a quarter of a second to import; whoever interrupts that, or asks for help, need not wait for it.
    from hydra._internal.utils import get_args_parser

    from smtrain.passes.compose import PRIMARY, Request

    parser = get_args_parser()
    parser.prog = f"smtrain {verb}"
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    if command is not None:
        command.add_arguments(parser)
    if command is None or command.section:
        parser.add_argument("--yes", "-y", action="store_true", help="do not ask before spending money")
    if command is None:
        parser.add_argument("--detach", "-d", action="store_true", help="return once the run has started")
    if verb == "rehearse":
        _add_rehearsal(parser)
    flags = parser.parse_intermixed_args(rest)
    overrides = list(flags.overrides)
    if misplaced := next((word for word in overrides if verb == "run" and word in VERBS), None):
        at = len(rest) - 1 - rest[::-1].index(misplaced)  # an earlier one may be the value of a flag
        what = f"The verb `{misplaced}` comes first."
        raise fail(what, f"Say smtrain {shlex.join((misplaced, *rest[:at], *rest[at + 1 :]))}")
    # Tab completion ends a key in "=".
    named = overrides[0].removesuffix("=") if verb == "explain" and overrides else "="
    operands = () if "=" in named else (named,)
    overrides = overrides[len(operands) :]
    request = Request(
        overrides=tuple(overrides),
        # Hydra's --config-path replaces the folder of the primary config; ours must stay to be found, after it.
        config_dirs=tuple(folder for folder in (flags.config_path, flags.config_dir) if folder),
        config_name=flags.config_name or PRIMARY,
    )
    return CommandLine(verb=verb, options=flags, operands=operands, request=request, command=command)


def _add_rehearsal(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=_positive, default=3)
    parser.add_argument("--timeout", type=_positive, default=600)
    parser.add_argument("--input", action="append", default=[])
    parser.add_argument("--docker", action="store_true")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


_positive.__name__ = "positive whole number"  # which argparse names in its message


def _plain(verb: str, rest: list[str]) -> CommandLine:
    parser = argparse.ArgumentParser(prog=f"smtrain {verb}", description=VERBS[verb])
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    if verb in ("status", "logs", "stop", "fetch"):
        parser.add_argument("id", help="a run's id, or the beginning of one")
    if verb in ("ps", "status", "logs", "stop", "fetch"):
        parser.add_argument("--runs-dir", default="runs", help="folder that holds the runs (runs)")
    if verb == "logs":
        parser.add_argument("-f", "--follow", action="store_true", help="go on until the run ends")
    if verb == "fetch":
        for part in FETCHABLE:
            parser.add_argument(f"--{part}", action="store_true", help=f"fetch the {part}; unsaid: model and metrics")
    if verb == "submit":
        parser.add_argument("dir", help="the run's folder, or its bundle folder")
        parser.add_argument("--detach", "-d", action="store_true", help="return once the run has started")
        parser.add_argument("--yes", "-y", action="store_true", help="do not ask before spending money")
    if verb == "diff":
        parser.add_argument("a", help="a run's folder, its bundle folder, or its id")
        parser.add_argument("b", help="another")
        parser.add_argument("--runs-dir", default="runs", help="folder that holds the runs (runs)")
    if verb == "import":
        parser.add_argument("tool", help="what to import, e.g. llamafactory; smtrain plugins lists them all")
        parser.add_argument("file", help="its configuration file")
        parser.add_argument("--root", default=".", help="folder that relative paths in it start at (.)")
        parser.add_argument("-o", "--output", help="write the config here rather than to stdout")
    return CommandLine(verb=verb, options=parser.parse_args(rest))
