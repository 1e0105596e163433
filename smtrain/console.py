"""Printing: plain lines in a pipe, colour on a terminal, one JSON document with --json; problems go to stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

from smtrain.credentials import hidden
from smtrain.errors import ExitCode, Problem, SmtrainError

if TYPE_CHECKING:
    from smtrain.spec import Json, LogLine

RED, GREEN, YELLOW = "\x1b[31m", "\x1b[32m", "\x1b[33m"
BOLD, DIM, PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"

HOST_COLOURS = tuple(f"\x1b[{number}m" for number in (36, 35, 34, 32, 33, 96, 95, 94, 92, 93))


class Console:
    """Where a command's words go."""

    def __init__(self, *, as_json: bool, colour: bool | None = None, out: TextIO | None = None) -> None:
        """Opens the console.

        Args:
          as_json: print one JSON document on stdout and no prose there.
          colour: force colour on or off; None asks the terminal, and NO_COLOR (no-color.org).
          out: stdout by default.
        """
        self.as_json = as_json
        self._out = out or sys.stdout
        self._hosts: dict[str, int] = {}
        self._colour = False if colour is None and os.environ.get("NO_COLOR") else colour

    def result(self, document: Json) -> None:
        """Prints the command's result, when JSON was asked for."""
        if self.as_json:
            print(json.dumps(document, ensure_ascii=False), file=self._out, flush=True)

    def say(self, text: str = "") -> None:
        """Prints a line of prose, unless JSON was asked for."""
        if not self.as_json:
            print(text, file=self._out, flush=True)

    def entry(self, entry: LogLine) -> None:
        """Prints a line of a run's log."""
        self.say(self.shown(entry))

    def shown(self, entry: LogLine) -> str:
        """Returns a line of a run's log as it is printed; each host has a colour of its own."""
        if not entry.host:
            return entry.text
        number = self._hosts.setdefault(entry.host, len(self._hosts))
        return f"{self.paint(entry.host, HOST_COLOURS[number % len(HOST_COLOURS)], self._out)}  {entry.text}"

    def rows(self, rows: Iterable[tuple[str, str]]) -> None:
        """Prints (title, text) rows, the titles in one column; a title that repeats is left out."""
        last = ""
        for title, text in rows:
            shown = "" if title == last else title
            self.say(f"{self.paint(f'{shown:<10}', BOLD, self._out)} {text}")
            last = title

    def problems(self, problems: Iterable[Problem]) -> None:
        """Prints problems on stderr."""
        for problem in problems:
            # Whatever a value was mistaken for, a credential in it is shown nowhere.
            head, _, rest = hidden(str(problem)).partition("\n")
            kind, colour = ("error", RED) if problem.is_error else ("warning", YELLOW)
            print(f"{self.paint(kind, colour, sys.stderr)}: {head}", file=sys.stderr)
            if rest:
                print(rest, file=sys.stderr)

    def failure(self, error: SmtrainError) -> None:
        """Prints what went wrong, as prose on stderr and, with --json, as JSON on stdout."""
        # Doubts about the configuration can wait until it compiles; a plugin that was left out may be the reason.
        self.problems(
            problem for problem in error.problems if problem.is_error or problem.code is ExitCode.BROKEN_PLUGIN
        )
        self.result({"error": {"exit_code": int(error.exit_code), "problems": list(map(_as_json, error.problems))}})

    def paint(self, text: str, colour: str, stream: TextIO) -> str:
        """Returns the text in a colour, when the stream is a terminal."""
        on = stream.isatty() if self._colour is None else self._colour
        return f"{colour}{text}{PLAIN}" if on else text


def _as_json(problem: Problem) -> dict[str, Json]:
    return {
        "key": problem.key,
        "where": hidden(str(problem.where)) if problem.where else None,
        "what": hidden(problem.what),
        "fix": hidden(problem.fix),
        "severity": problem.severity.value,
    }
