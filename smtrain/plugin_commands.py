"""Commands that plugins bring: found by the words of a command line, with flags and help of their own."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from smtrain.errors import Problem, SmtrainError
from smtrain.hookspecs import CommandSpec
from smtrain.interfaces import Command, SectionCommand
from smtrain.registry import Registry
from smtrain.suggest import closest, did_you_mean

_HYDRA = "Hydra's flags keep working: --cfg job, --info defaults, --config-dir DIR."


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginCommand:
    """What the first words of a command line ask for.

    Attributes:
      words: those words.
      registry: the plugins, loaded once.
      offers: the command of these words; or, where they only begin some, all that they begin.
    """

    words: str
    registry: Registry
    offers: tuple[CommandSpec, ...]

    @property
    def only_lists(self) -> bool:
        """Whether the words only begin commands."""
        return self.offers[0].name != self.words

    @property
    def section(self) -> str:
        """The section that the command is about; "" when it is about a run."""
        return self.offers[0].section

    def loaded(self) -> Command | SectionCommand[object]:
        """Returns the command."""
        return self.registry.command(self.words)

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds the command's own flags.

        Raises:
          SmtrainError: the plugin is broken, e.g. a flag of this name is Hydra's.
        """
        command = self.loaded()
        with self.registry.blaming(self.offers[0]):
            command.arguments(parser)

    def help(self) -> str:
        """Returns what the command is for, and its flags; or which commands there are."""
        if self.only_lists:
            lines = [f"  {spec.name.removeprefix(self.words).strip():<16}{spec.summary}" for spec in self.offers]
            return "\n".join((f"smtrain {self.words} COMMAND OVERRIDES…\n", *lines))
        parser = argparse.ArgumentParser(
            prog=f"smtrain {self.words}",
            usage=f"smtrain {self.words} [FLAG…] GROUP=OPTION… KEY=VALUE…",
            description=self.offers[0].summary,
            epilog=_HYDRA,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.add_argument("--json", action="store_true", help="print the result as JSON")
        if self.section:
            parser.add_argument("--yes", "-y", action="store_true", help="ask nothing")
        self.add_arguments(parser)
        return parser.format_help().rstrip()


def find(argv: Sequence[str], verbs: Collection[str]) -> tuple[PluginCommand, list[str]]:
    """Returns what a line that begins with no verb asks for, and the rest of it.

    Args:
      argv: the line; its first word is plain.
      verbs: of the command itself.

    Raises:
      SmtrainError: no plugin has such a command.
    """
    registry = Registry()
    commands = registry.commands
    for count in (2, 1):
        words = " ".join(argv[:count])
        if words in commands and len(argv) >= count:
            return PluginCommand(words=words, registry=registry, offers=(commands[words],)), list(argv[count:])
    first, *rest = argv
    begun = tuple(spec for name, spec in commands.items() if name.startswith(f"{first} "))
    if begun and (not rest or rest[0].startswith("-")):
        return PluginCommand(words=first, registry=registry, offers=begun), rest
    if begun:
        what = f"`{first} {rest[0]}` is no command."
        fix = did_you_mean(rest[0], [spec.name.partition(" ")[2] for spec in begun])
    else:
        what = f"`{first}` is no verb, and no override of the form KEY=VALUE."
        fix = _likeliest(first, verbs, commands)
    # A plugin that is broken may be the one that brings it.
    raise SmtrainError([Problem(key="", what=what, fix=fix), *(broken.problem() for broken in registry.broken)])


def _likeliest(word: str, verbs: Collection[str], commands: Collection[str]) -> str:
    begins = {name.partition(" ")[0] for name in commands}
    match = closest(word, sorted({*verbs, *begins, *commands}))
    return did_you_mean(match or word, {*verbs, *commands, *([match] if match else [])})
