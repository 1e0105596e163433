"""What a JSON Schema objects to, in words for the person who wrote the config."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, cast

from smtrain.errors import Problem
from smtrain.suggest import closest, did_you_mean

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

    from smtrain.spec import Json

TYPE_NAMES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}


UNKNOWN = "Unknown key."
"""What is said of a key that a section does not have."""


def problems(value: Json, schema: Mapping[str, Json], *, prefix: str) -> Iterator[Problem]:
    """Yields every objection to a value, each at its own key.

    Args:
      value: the section as composed.
      schema: its JSON Schema.
      prefix: dotted path of the section, "" for the root.
    """
    for error in validator(schema).iter_errors(cast("dict[str, Json]", value)):
        yield from _explain(error, prefix)


def validator(schema: Mapping[str, Json]) -> Validator:
    """Returns a validator that, unlike JSON Schema and like the typed classes, takes 1.0 for no whole number."""
    import jsonschema  # a good configuration never needs it

    kind = jsonschema.Draft202012Validator
    checker = kind.TYPE_CHECKER.redefine(
        "integer", lambda _, found: isinstance(found, int) and not isinstance(found, bool)
    )
    extend = cast("Callable[..., type[Validator]]", jsonschema.validators.extend)
    return extend(kind, type_checker=checker)(cast("dict[str, Json]", schema))


def _explain(error: ValidationError, prefix: str) -> Iterator[Problem]:
    key = ".".join([*([prefix] if prefix else []), *map(str, error.absolute_path)])
    if key.startswith("secrets."):
        # Not shown: whoever mistakes a reference for the value has typed the secret itself.
        fix = "Write env:NAME (a variable of the target), secretsmanager:ID, or ssm:/NAME."
        yield Problem(key=key, what="This is no reference to a secret.", fix=fix)
        return
    if error.instance == "???":
        yield Problem(key=key, what="A value is required.", fix=f"Set it: {key}=…")
        return
    match error.validator:
        case "additionalProperties":
            yield from _unknown(error, key)
        case "required":
            for name in cast("list[str]", error.validator_value):
                if name not in cast("dict[str, Json]", error.instance):
                    full = f"{key}.{name}" if key else name
                    yield Problem(key=full, what="A value is required.", fix=f"Set it: {full}=…")
        case "anyOf":
            inside = _inside(error)
            for inner in inside:
                yield from _explain(inner, prefix)
            if not inside:
                yield _none_fits(error, key)
        case _:
            yield Problem(key=key, what=_what(error), fix=_fix(error, key))


def _fix(error: ValidationError, key: str) -> str:
    """Says how what is there would become what is wanted, and what the key means."""
    if "propertyNames" in error.absolute_schema_path:
        return "A name has letters, digits and `_`, and does not begin with a digit."
    schema = cast("dict[str, Json]", error.schema)
    options = cast("list[dict[str, Json]]", schema.get("anyOf", [schema]))
    wanted = {option.get("type") for option in options}
    lines = [_doc(schema)]
    if "string" in wanted and isinstance(error.instance, int | float):
        text = str(error.instance).lower() if isinstance(error.instance, bool) else str(error.instance)
        lines.append(f"Quote it: \"{text}\" in a file, {key}=\\'{text}\\' on the command line.")
    if "array" in wanted and isinstance(error.instance, str):
        lines.append(f"Write a list: [{error.instance}]")
    return "\n".join(line for line in lines if line)


def _unknown(error: ValidationError, key: str) -> Iterator[Problem]:
    schema = cast("dict[str, dict[str, Json]]", error.schema)
    known = schema.get("properties", {})
    for name in sorted(set(cast("dict[str, Json]", error.instance)) - set(known)):
        full = f"{key}.{name}" if key else str(name)
        yield Problem(key=full, what=UNKNOWN, fix=did_you_mean(str(name), known))


def _inside(error: ValidationError) -> list[ValidationError]:
    """Returns what is wrong inside of a mapping that may be there or not."""
    if not isinstance(error.instance, dict):
        return []
    return [inner for inner in error.context or () if inner.path or inner.validator not in ("type", "const")]


def _none_fits(error: ValidationError, key: str) -> Problem:
    """Says which types are allowed, or, where only the bounds are wrong, the bounds."""
    for inner in error.context or ():
        if inner.validator not in ("type", "const") and not inner.path:
            return Problem(key=key, what=_what(inner), fix=_doc(error.schema))
    allowed = [_type(cast("dict[str, Json]", option)) for option in cast("list[Json]", error.validator_value)]
    what = f"{_shown(error.instance)} is {_a(error.instance)}; wanted is {' or '.join(allowed)}."
    return Problem(key=key, what=what, fix=_fix(error, key))


BOUNDS = {
    "minimum": "is too small; the least is",
    "maximum": "is too large; the most is",
    "exclusiveMinimum": "is too small; it must be more than",
    "exclusiveMaximum": "is too large; it must be less than",
    "minLength": "is too short; the fewest characters are",
    "maxLength": "is too long; the most characters are",
    "pattern": "does not match the pattern",
    "const": "is not",
}
"""JSON Schema keyword → what is wrong with a value that breaks it, before the keyword's own value."""


def _what(error: ValidationError) -> str:
    found, wanted = _shown(error.instance), error.validator_value
    match error.validator:
        case "type":
            names = wanted if isinstance(wanted, list) else [wanted]
            return f"{found} is {_a(error.instance)}; wanted is {' or '.join(TYPE_NAMES[str(name)] for name in names)}."
        case "enum":
            choices = [str(choice) for choice in cast(Iterable[object], wanted)]
            match = closest(str(error.instance), choices)
            hint = f" Did you mean `{match}`?" if match else ""
            return f"{found} is not one of {', '.join(f'`{choice}`' for choice in choices)}.{hint}"
        case str() as keyword if keyword in BOUNDS:
            return f"{found} {BOUNDS[keyword]} {wanted}."
        case _:
            return f"{error.message}."


def _type(option: Mapping[str, Json]) -> str:
    if "enum" in option:
        return "one of " + ", ".join(f"`{choice}`" for choice in cast("list[Json]", option["enum"]))
    kind = option.get("type", "anything")
    kinds = kind if isinstance(kind, list) else [kind]
    return " or ".join(TYPE_NAMES.get(str(name), str(name)) for name in kinds)


def _a(value: object) -> str:
    match value:
        case None:
            return "no value"
        case bool():
            return "true or false"
        case str():
            return "text"
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case _:
            return "a mapping"


def _shown(value: object) -> str:
    if value is None or isinstance(value, bool):
        return f"`{str(value).lower().replace('none', 'null')}`"
    text = str(value)
    return f"`{text if len(text) <= 60 else text[:57] + '…'}`"  # noqa: PLR2004  # fits a line of a terminal


def _doc(schema: object) -> str:
    description = cast("dict[str, str]", schema).get("description", "") if isinstance(schema, dict) else ""
    return description.partition("\n")[0]
