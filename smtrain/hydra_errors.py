"""Hydra's and OmegaConf's errors, in words for the person who wrote the config."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import yaml
from hydra._internal.config_repository import IConfigRepository
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from smtrain.credentials import hidden_override
from smtrain.errors import Origin, Problem
from smtrain.suggest import did_you_mean


class DoubledError(ValueError):
    """One group is chosen twice."""

    def __init__(self, override: Override, choices: tuple[str, ...]) -> None:
        """Keeps the second override, and both choices."""
        super().__init__(override.input_line)
        self.override, self.choices = override, choices


def explain(error: Exception, overrides: tuple[str, ...], repository: IConfigRepository) -> tuple[Problem, str | None]:
    """Returns the problem behind Hydra's error, and the override to set aside so that composing can go on."""
    match error:
        case OverrideParseException():
            return _bad_override(error, overrides)
        case MissingConfigException():
            return _missing_choice(error, overrides, repository)
        case DoubledError():
            return _doubled(error, overrides)
        case yaml.MarkedYAMLError():
            return _malformed(error), None
        case RecursionError():
            fix = "Look through the defaults lists of the options that are chosen, experiment= above all."
            return Problem(key="", what="A defaults list includes itself.", fix=fix), None
        case UnicodeDecodeError():
            what = f"A config file is not UTF-8 text: byte {error.object[error.start]:#04x} at offset {error.start}."
            return Problem(key="", what=what, fix="Convert the file: iconv -f LATIN1 -t UTF-8 OLD > NEW"), None
        case ConfigCompositionException() if str(error).startswith(("Ambiguous value", "Sweep parameters")):
            return _sweep_without_m(error, overrides)
        case _:
            return _other(error, overrides)


def _bad_override(error: OverrideParseException, overrides: tuple[str, ...]) -> tuple[Problem, str | None]:
    culprit = _typed(error.override, overrides)
    key, equals, value = (culprit or "").partition("=")
    if equals and _KEY.fullmatch(key) and _BARE.fullmatch(value):
        what = "Hydra's syntax does not allow this value without quotes."
        quoted = f'{key}="{value}"'
        fix = f"Quote it for Hydra, and once more for the shell: '{hidden_override(quoted)}'"
    else:
        what = f"Cannot be read: {str(error.__cause__ or error).splitlines()[0].replace('++', '')}."
        fix = "Write key=value; quote a value with special characters twice, as in 'key=\"a b, c\"'."
    return Problem(key=key_of(culprit or ""), what=what, fix=fix, where=_override(culprit)), culprit


_KEY = re.compile(r"[+~]*[\w./@-]+")
_BARE = re.compile(r"[^\[{'\"][^'\"\\\n]*")
"""A value that is meant as plain text: no list, mapping or quotes of its own."""


def _missing_choice(
    error: MissingConfigException, overrides: tuple[str, ...], repository: IConfigRepository
) -> tuple[Problem, str | None]:
    missing = error.missing_cfg_file or ""
    group, _, choice = missing.rpartition("/")
    culprit = next((text for text in overrides if key_of(text).partition("@")[0] == group), None)
    if not group:
        what, fix = f"There is no config called `{missing}`.", "Check --config-name and --config-dir."
        return Problem(key="", what=what, fix=fix), None
    options = error.options or repository.get_group_options(group, ObjectType.CONFIG)
    where = _override(culprit) if culprit and choice in culprit.partition("=")[2] else _parent(error)
    listing = ", ".join(sorted(options))
    hint = did_you_mean(choice, options)
    fix = hint if hint.startswith("Choose") else f"{hint} `{group}` can be: {listing}."
    if not options:
        root = group.rpartition("/")[2]
        fix = f"There is no group `{group}`. From inside another group, write `/{root}` for the group `{root}`."
    return Problem(key=group, what=f"There is no `{choice}` to choose.", fix=fix, where=where), culprit


def _parent(error: MissingConfigException) -> Origin | None:
    named = re.match(r"In '([^']+)'", str(error))
    return Origin(source=f"defaults list of `{named[1]}`") if named else None


def _doubled(error: DoubledError, overrides: tuple[str, ...]) -> tuple[Problem, str | None]:
    key = error.override.key_or_group
    culprit = _typed(error.override.input_line or "", overrides)
    what = f"Chosen twice: {' and '.join(f'`{choice}`' for choice in error.choices)}."
    fix = f"Keep one; to try both, sweep: smtrain -m {key}={','.join(error.choices)}"
    return Problem(key=key, what=what, fix=fix, where=_override(culprit)), culprit


def _malformed(error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    where = Origin(source=shown(Path(mark.name)), line=mark.line + 1) if mark else None
    what = " ".join(part for part in (error.context, error.problem) if part)
    return Problem(key="", what=f"Not valid YAML: {what}.", fix="Mend the syntax at this place.", where=where)


def _sweep_without_m(error: Exception, overrides: tuple[str, ...]) -> tuple[Problem, str | None]:
    culprit = next((text for text in overrides if text in str(error)), None)
    key, _, value = (culprit or "").partition("=")
    fix = f"Sweep over it: smtrain -m {culprit}\nGive a list: {key}=[{value}]\nGive text: {key}=\\'{value}\\'"
    what = f"`{value}` holds several values, which is a sweep."
    return Problem(key=key_of(culprit or ""), what=what, fix=fix, where=_override(culprit)), culprit


def _other(error: Exception, overrides: tuple[str, ...]) -> tuple[Problem, str | None]:
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    text = str(cause)
    if isinstance(error, ConfigCompositionException):
        text = str(error) if cause is error else f"{error}: {text.partition(chr(10))[0]}"
    text = " ".join(text.split())
    for item in overrides:
        text = text.replace(f"++{item}", item)  # as typed, without what `forced` put before it
    culprit = next((item for item in overrides if item in text or _names(text, key_of(item))), None)
    key = named[1] if (named := re.search(r"full_key: (\S+)", text)) else ""
    if ungrouped := re.match(r"Could not override '([^'@]+)'\. ?No match in the defaults list", text):
        what = f"None of the chosen options has a group `{ungrouped[1]}`."
        fix = "Leave it out: what it sets is no part of this run, or is set by other keys (smtrain explain trainer)."
        return Problem(key=ungrouped[1], what=what, fix=fix, where=_override(culprit)), culprit
    if _TWICE.search(text) and (added := _added(overrides, culprit)):
        what, fix = (
            "The defaults have this group already, and `+` would add it again.",
            f"Write {added[1:]}, without `+`.",
        )
        return Problem(key=key_of(added), what=what, fix=fix, where=_override(added)), added
    what = re.sub(r" ?(full_key|object_type|reference_type)[:=] ?\S+", "", text)
    return Problem(key=key, what=f"{what.removesuffix('.')}.", where=_override(culprit)), culprit


_TWICE = re.compile(r"^Multiple values for \S+ To override|appears more than once in the final defaults list")
"""What Hydra says of a group that was added though it is there: of that group, or of one that its choice brings."""


def _added(overrides: tuple[str, ...], culprit: str | None) -> str | None:
    """Returns the override that adds a choice of a group: the one that is to blame, or the only one there is."""
    added = [item for item in overrides if re.match(r"\+[\w/@.]+=", item)]
    return culprit if culprit in added else added[0] if len(added) == 1 else None


def _names(text: str, key: str) -> bool:
    """Whether a text names a key, and not merely one around or inside it."""
    return bool(key) and re.search(rf"(?<![\w./]){re.escape(key)}(?![\w/]|\.\w)", text) is not None


def _typed(parsed: str, overrides: tuple[str, ...]) -> str | None:
    return next((text for text in overrides if parsed in {text, f"++{text}"}), None)


def _override(text: str | None) -> Origin | None:
    return Origin(source=f"override `{hidden_override(text)}`") if text else None


def interpolation_problem(key: str, text: str, error: OmegaConfBaseException) -> Problem:
    """Returns the problem of an interpolation that does not resolve."""
    message = str(error).splitlines()[0].removesuffix(".")
    named = re.search(r"Interpolation key '([^']*)' not found", message)
    if named:
        return Problem(
            key=key,
            what=f"`{text}` refers to `{named[1]}`, which is not defined.",
            fix=f"Define `{named[1]}` (own names go under `vars:`), or quote the text if no interpolation is meant.",
        )
    return Problem(key=key, what=f"`{text}` cannot be resolved: {message}.", fix="Mend the interpolation.")


def missing_search_paths(warned: Iterable[str]) -> Iterable[Problem]:
    """Yields an error for each entry of `hydra.searchpath` that Hydra only warns of."""
    for text in warned:
        missing = re.match(r"provider=(hydra\.searchpath.*), path=(.*) is not available", text)
        if missing:
            yield Problem(
                key="hydra.searchpath",
                what=f"`{missing[2]}` does not exist.",
                fix="Name an existing folder as file://FOLDER, or a package as pkg://PACKAGE.",
                where=Origin(source=missing[1]),
            )


def shown(path: Path) -> str:
    """Returns a path as the user would write it here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def key_of(text: str) -> str:
    """Returns the key that an override sets, or the group that it chooses."""
    return text.partition("=")[0].lstrip("+~")
