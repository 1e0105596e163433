"""Tab completion: Hydra's own, taught our verbs and flags, and the commands of plugins.

Hydra's shell functions call `smtrain -sc query=SHELL` with the line so far in COMP_LINE; Hydra takes every word after
the program for an override, so what only we know is taken out before it looks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from smtrain.command_line import COMPILING, VERBS

FLAGS = frozenset({"--json", "--yes", "-y", "--detach", "-d", "--docker"})
"""Flags that Hydra does not know."""

VALUED_FLAGS = frozenset({"--steps", "--timeout", "--input"})
"""Flags that Hydra does not know, with a value behind them."""

ZSH_PRELUDE = """\
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
(( $+functions[complete] )) || { autoload -Uz bashcompinit && bashcompinit; }
"""
"""What the function for bash, which Hydra gives to zsh as well, needs there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TypedLine:
    """The command line so far.

    Attributes:
      program: its first word.
      earlier: the words between the program (and a verb or command that takes overrides) and the last one.
      last: the word to complete; "" after a space.
      verbs: the verbs, or words of commands, that could complete it.
      takes_overrides: whether it may be an override.
    """

    program: str
    earlier: tuple[str, ...]
    last: str
    verbs: tuple[str, ...]
    takes_overrides: bool

    @property
    def config_dirs(self) -> tuple[str, ...]:
        """The folders that the line names with --config-dir."""
        glued = [word.partition("=")[2] for word in self.earlier if word.startswith("--config-dir=")]
        pairs = zip(self.earlier, self.earlier[1:], strict=False)
        return (*glued, *(value for flag, value in pairs if flag in ("--config-dir", "-cd")))

    def for_hydra(self, forced: Callable[[Iterable[str]], Iterable[str]]) -> str:
        """Returns the line as Hydra should see it.

        Args:
          forced: puts `++` before overrides of keys that no file mentions.
        """
        earlier = [text for word in self.earlier for text in ([word] if word.startswith("-") else forced([word]))]
        return " ".join((self.program, *earlier, self.last))


def typed_line(text: str, commands: Iterable[str] = ()) -> TypedLine:
    """Returns the parts of a command line that ends at the cursor, program first.

    Args:
      text: the line.
      commands: the commands of plugins, each of one word or two.
    """
    program, *words = text.split() or ["smtrain"]
    if text[-1:].isspace():
        words.append("")
    *earlier, last = words or [""]
    names = [(verb,) for verb in VERBS] + [tuple(name.split()) for name in commands]
    verb = max((name for name in names if tuple(earlier[: len(name)]) == name), key=len, default=())
    begun = {
        name[len(earlier)] for name in names if name[: len(earlier)] == tuple(earlier) and len(name) > len(earlier)
    }
    return TypedLine(
        program=program,
        earlier=tuple(_without_flags(earlier[len(verb) :])),
        last=last,
        verbs=tuple(sorted(word for word in begun if word.startswith(last))),
        takes_overrides=_takes_overrides(verb, only_begun=bool(begun) and bool(earlier))
        and not last.startswith("-")
        and (not earlier or earlier[-1] not in VALUED_FLAGS),
    )


def _takes_overrides(verb: tuple[str, ...], *, only_begun: bool) -> bool:
    """Whether overrides follow a verb, or a command of a plugin; () is none, as of a run."""
    if not verb:
        return not only_begun
    return " ".join(verb) in COMPILING or " ".join(verb) not in VERBS


def _without_flags(words: list[str]) -> Iterator[str]:
    before = ""
    for word in words:
        if not ({word, word.partition("=")[0]} & (FLAGS | VALUED_FLAGS) or before in VALUED_FLAGS):
            yield word
        before = word
