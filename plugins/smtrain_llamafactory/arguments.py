"""LLaMA-Factory's arguments without LLaMA-Factory: the committed schema, the check against it, and the docs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import cast

from smtrain.plugin import Json, Problem, fail, suggest
from smtrain_llamafactory.conformance import Property, conforms, has_type, in_range, types_of
from smtrain_llamafactory.renamed import REMOVED, RENAMED
from smtrain_llamafactory.wording import culprit, found, hint, wanted

KNOWN_VERSIONS: tuple[str, ...] = ("0.9.5",)
"""The versions whose arguments are known, oldest first; the last is the default."""

SECRETS = frozenset(
    {
        "hf_hub_token",
        "ms_hub_token",
        "om_hub_token",
        "hub_token",
        "push_to_hub_token",
        "swanlab_api_key",
        "swanlab_lark_secret",
    }
)
"""Arguments whose value is a secret: it is told in no message."""


@lru_cache
def schema(version: str) -> Mapping[str, Json]:
    """Returns the JSON Schema (2020-12) of the arguments of this version of LLaMA-Factory; not to be changed.

    Raises:
      SmtrainError: the version is not a known one.
    """
    if version not in KNOWN_VERSIONS:
        what = f"the arguments of LLaMA-Factory {version} are not known."
        raise fail(what, f"Choose one of: {', '.join(KNOWN_VERSIONS)}.", key="trainer.version")
    file = Path(__file__).with_name(f"arguments_{version.replace('.', '_')}.json")
    return cast("Mapping[str, Json]", json.loads(file.read_text(encoding="utf-8")))


def properties(version: str) -> Mapping[str, Property]:
    """Returns the schema of each argument by its name."""
    return cast("Mapping[str, Property]", schema(version)["properties"])


def check(args: Mapping[str, Json], version: str, *, prefix: str = "trainer.args") -> tuple[Problem, ...]:
    """Returns every argument that this version of LLaMA-Factory does not have or cannot work with, sorted.

    Args:
      args: argument → value.
      version: of LLaMA-Factory.
      prefix: the key of `args` itself.
    """
    known = properties(version)
    return tuple(sorted(_problems(args, known, version, prefix), key=lambda problem: (problem.key, problem.what)))


def _problems(args: Mapping[str, Json], known: Mapping[str, Property], version: str, prefix: str) -> Iterator[Problem]:
    for name, value in args.items():
        key = f"{prefix}.{name}"
        if name not in known:
            yield _unknown(str(name), known, version, key)  # YAML has keys that are no strings
        elif not conforms(value, known[name]):
            yield _unfit(name, value, known[name], key)
        elif isinstance(value, float) and math.isnan(value):  # which JSON has not, so no schema can refuse it
            yield Problem(key=key, what=f"found NaN, expected {wanted(known[name])}.")


def _unknown(name: str, known: Mapping[str, Property], version: str, key: str) -> Problem:
    where = f"LLaMA-Factory {version}"
    plain = name.strip().lstrip("-").replace("-", "_").lower()
    new = RENAMED.get(plain)
    if new in known:
        return Problem(key=key, what=f"`{name}` is not an argument of {where}.", fix=f"Use `{new}`.")
    if plain in REMOVED:
        return Problem(key=key, what=f"`{name}` is not an argument of {where}.", fix=REMOVED[plain])
    match = plain if plain in known else suggest.closest(plain, known)
    fix = f"Did you mean `{match}`?" if match else "Leave it out, or look for another name in LLaMA-Factory's help."
    return Problem(key=key, what=f"unknown argument of {where}.", fix=fix)


def _unfit(name: str, value: Json, schema: Property, key: str) -> Problem:
    if name in SECRETS:
        return Problem(key=key, what=f"found {found(value, secret=True)}, expected {wanted(schema)}.")
    item = culprit(value, schema)
    place = "" if item is value else " in the list"
    verdict = "out of range: " if has_type(value, schema) and not in_range(value, schema) else ""
    what = f"found {found(item, secret=False)}{place}, {verdict}expected {wanted(schema)}."
    return Problem(key=key, what=what, fix=hint(name, item, schema))


def with_exact_integers(args: Mapping[str, Json], version: str) -> dict[str, Json]:
    """Returns the arguments with every 3.0 written as 3 where an integer is wanted.

    JSON Schema takes 3.0 for an integer; Python's `range` and slices, which LLaMA-Factory puts it to, do not.
    """
    known = properties(version)
    return {
        name: int(value)
        if isinstance(value, float) and value.is_integer() and "integer" in types_of(known.get(name, {}))
        else value
        for name, value in args.items()
    }
