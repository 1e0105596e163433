"""Words of a command, and the one place that quotes them for a shell."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterable, Mapping

from smtrain.spec import Concat, InputPath, Resume, RuntimeVar, Word

RESUME_VARIABLE = "SMTRAIN_RESUME_FROM"
"""Set by the launch script to the newest complete checkpoint, unset when there is none; see `smtrain.launch_script`."""


def runtime_variables(words: Iterable[Word]) -> frozenset[RuntimeVar]:
    """Returns the runtime variables that these words use."""
    return frozenset(
        part
        for word in words
        for part in (word.parts if isinstance(word, Concat) else (word,))
        if isinstance(part, RuntimeVar)
    )


def quote(word: Word) -> str:
    """Returns the word as bash source: literal text quoted, runtime values as quoted expansions.

    A `Resume` word becomes an expansion that is not quoted as a whole, since it may be no word at all; its parts are.
    """
    match word:
        case str():
            return shlex.quote(word)
        case Resume(prefix):
            literal = shlex.quote(prefix) if prefix else ""
            return f'${{{RESUME_VARIABLE}+{literal}"${RESUME_VARIABLE}"}}'
        case Concat(parts):
            return "".join(quote(part) for part in parts if part != "") or "''"
        case RuntimeVar():
            return f'"${{{variable_name(word)}}}"'
        case InputPath():
            return f'"${{{input_variable(word.name)}}}"'


def command(words: Iterable[Word]) -> str:
    """Returns a command line of bash."""
    return " ".join(quote(word) for word in words)


def command_lines(words: Iterable[Word], *, indent: str = "  ") -> str:
    """Returns a command line of bash with one word, or one option and its value, a line; meant to be read."""
    rows: list[str] = []
    for text in map(quote, words):
        takes_value = rows and rows[-1].startswith("-") and " " not in rows[-1] and not text.startswith("-")
        if takes_value and "=" not in rows[-1]:
            rows[-1] += f" {text}"
        else:
            rows.append(text)
    return f" \\\n{indent}".join(rows)


def variable_name(variable: RuntimeVar) -> str:
    """Returns the shell variable that holds a runtime variable."""
    return f"SMTRAIN_{variable.value}"


def input_variable(name: str) -> str:
    """Returns the shell variable that holds the path of an input."""
    return f"SMTRAIN_INPUT_{_upper(name)}"


def output_variable(name: str) -> str:
    """Returns the shell variable by which a backend says where an output is kept, when not in OUTPUT_DIR."""
    return f"SMTRAIN_OUTPUT_{_upper(name)}_DIR"


def assignments(values: Mapping[str, Word]) -> str:
    """Returns `export NAME=value` lines, sorted by name."""
    return "\n".join(f"export {name}={quote(value)}" for name, value in sorted(values.items()))


def can_be_set(name: str) -> bool:
    """Returns whether a script can give the environment variable of this name a value."""
    return re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is not None and name not in _BASH_OWN


def glob(pattern: str) -> str:
    """Returns a glob pattern as bash source in which only `*` and `?` are special."""
    return "".join(part if part in {"*", "?"} else shlex.quote(part) for part in re.split(r"([*?])", pattern) if part)


# Bash refuses an assignment to these, or loses it (bash(1), "Shell Variables").
_BASH_OWN = frozenset(
    (
        *("_", "BASHOPTS", "BASHPID", "BASH_ARGC", "BASH_ARGV", "BASH_COMMAND", "BASH_SUBSHELL", "BASH_VERSINFO"),
        *("COMP_WORDBREAKS", "DIRSTACK", "EPOCHREALTIME", "EPOCHSECONDS", "EUID", "FUNCNAME", "GROUPS", "HISTCMD"),
        *("LINENO", "PIPESTATUS", "PPID", "RANDOM", "SECONDS", "SHELLOPTS", "SRANDOM", "UID"),
    )
)


def _upper(name: str) -> str:
    """Different names give different results: what the readable form loses, a digest tells apart."""
    readable = re.sub(r"[^A-Za-z0-9]", "_", name).upper()
    if re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        return readable
    return f"{readable}_{hashlib.sha256(name.encode()).hexdigest()[:6]}"
