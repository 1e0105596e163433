"""Asking a person before money is spent."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence

from smtrain import costs
from smtrain.console import Console
from smtrain.spec import Cost


def a_person_decides(options: argparse.Namespace, console: Console) -> bool:
    """Returns whether somebody is there to be asked, and has not said yes beforehand."""
    if options.yes or console.as_json or os.environ.get("CI"):
        return False
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))


def may_launch(
    options: argparse.Namespace, console: Console, *, spent: Sequence[Cost], rows: Iterable[tuple[str, str]]
) -> bool:
    """Returns whether to launch what costs something, having asked once where somebody can be asked.

    Args:
      options: the flags of the command line.
      console: shows what would be launched.
      spent: the costs of all that would be launched; none means that it costs nothing.
      rows: (title, text) of what would be launched.
    """
    if not spent or not a_person_decides(options, console):
        return True
    console.rows(rows)
    console.rows([("cost", costs.text(spent))])
    if _says_yes("Launch?"):
        return True
    console.say("nothing was launched")
    return False


def may(question: str, options: argparse.Namespace, console: Console, *, rows: Iterable[tuple[str, str]]) -> bool:
    """Returns whether to do what was asked for, having asked once where somebody can be asked.

    Args:
      question: e.g. "Delete it?".
      options: the flags of the command line.
      console: shows what it is about.
      rows: (title, text) of what it is about.
    """
    if not a_person_decides(options, console):
        return True
    console.rows(rows)
    if _says_yes(question):
        return True
    console.say("nothing was done")
    return False


def _says_yes(question: str) -> bool:
    try:
        answer = input(f"{question} [y/N] ")
    except EOFError:
        sys.stdout.write("\n")
        return False
    return answer.strip().lower() in ("y", "yes")
