"""Arguments that smtrain derives, set by the user as well: they must mean the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from smtrain.plugin import Problem
from smtrain_llamafactory import places
from smtrain_llamafactory.derived import SETTING_OF, Meaning


def contradictions(
    args: Mapping[str, object], meanings: Mapping[str, Meaning], *, prefix: str = "trainer.args"
) -> Iterator[Problem]:
    """Yields each argument of the user's that says something else than the run does.

    Args:
      args: the user's arguments.
      meanings: what the derived ones mean.
      prefix: key under which the user set them.
    """
    for name, meaning in meanings.items():
        if name == "output_dir" and not places.is_relative(args.get(name)):
            continue  # absent, or refused for what it is
        if name in args and not _same(args[name], meaning.means):
            said = "it is not set" if meaning.means is None else f"it is {_shown(meaning.means)}"
            yield Problem(
                key=f"{prefix}.{name}",
                what=f"{_shown(args[name])}, but by the rest of the configuration {said}.",
                fix=f"smtrain derives `{name}`: {SETTING_OF[name]}.",
            )


def _same(value: object, means: object) -> bool:
    if isinstance(means, tuple):
        return places.split(value) == means
    if isinstance(value, bool) or isinstance(means, bool):
        return value is means
    if places.is_relative(value) and places.is_relative(means):
        return places.normal(str(value)) == places.normal(str(means))
    return value == means


def _shown(value: object) -> str:
    return f"`{','.join(map(str, value))}`" if isinstance(value, list | tuple) else f"`{value}`"
