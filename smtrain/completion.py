"""Tab completion: Hydra's own, taught our verbs.

Hydra's shell functions call `smtrain -sc query=SHELL` with the line so far in COMP_LINE; Hydra takes every word after
the program for an override, so the verb is taken out before it looks.
"""

from __future__ import annotations

from smtrain.command_line import COMPILING, VERBS


def without_verb(line: str) -> tuple[str, list[str]]:
    """Returns the line as Hydra should see it, and the verbs that could complete its last word.

    Args:
      line: the command line so far, program first.
    """
    program, _, rest = line.partition(" ")
    first, space, after = rest.partition(" ")
    if space and first in VERBS:
        return (f"{program} {after}" if first in COMPILING else ""), []
    if not space:
        return line, [verb for verb in VERBS if verb.startswith(first)]
    return line, []
