"""The committed schemas are those of the typed sections, and jsonschema agrees with the typed classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from smtrain import schema
from smtrain.registry import Registry
from smtrain.schema_files import documents
from smtrain.schema_problems import validator

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(ROOT.glob("conf/**/*.yaml"))


def test_committed_schemas_are_the_generated_ones() -> None:
    wanted = dict(documents(Registry()))
    found = {path.name: path.read_text() for path in (ROOT / "schemas").glob("*.json")}
    assert found == wanted, "run `make schemas`"


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "schemas").glob("*.json")))
def test_schemas_are_valid_schemas(name: str) -> None:
    document = json.loads((ROOT / "schemas" / name).read_text())
    assert document["$schema"] == schema.DIALECT
    jsonschema.Draft202012Validator.check_schema(document)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_shipped_config_names_its_schema_and_fits_it(path: Path) -> None:
    text = path.read_text()
    named = next(line for line in text.splitlines()[:3] if line.startswith("# yaml-language-server: $schema="))
    place, _, pointer = named.partition("=")[2].partition("#")
    document = json.loads((path.parent / place).read_text())
    for part in pointer.split("/")[1:]:
        document = document[part]
    if "$ref" not in json.dumps(document) or path.parent.name != "conf":
        values = yaml.safe_load(text) or {}
        values = {key: value for key, value in values.items() if value != "???"}
        _validator(document).validate(values)


def _validator(document: dict[str, Any]) -> jsonschema.Draft202012Validator:
    # A root config refers to the sections' files, which stand beside it.
    from referencing import Registry as Resources
    from referencing import Resource

    resources = [(p.name, Resource.from_contents(json.loads(p.read_text()))) for p in (ROOT / "schemas").glob("*.json")]
    return jsonschema.Draft202012Validator(document, registry=Resources().with_resources(resources))


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 3), st.floats(allow_nan=False), st.text(max_size=4), st.just("zero2"),
    st.lists(st.text(max_size=2), max_size=2), st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)  # fmt: skip


@pytest.mark.parametrize("section", schema.SECTIONS)
@given(data=st.data())
def test_the_typed_class_and_its_schema_agree(section: str, data: st.DataObject) -> None:
    kind = schema.SECTIONS[section]
    keys = st.sampled_from(sorted(kind.__dataclass_fields__))
    value = data.draw(st.dictionaries(keys, VALUES, max_size=3))
    try:
        msgspec.convert(value, kind)
        typed = True
    except msgspec.ValidationError:
        typed = False
    valid = validator(schema.of_type(kind)).is_valid(value)
    if valid != typed:
        # The one difference: typing ignores unknown keys of nested sections, which validate looks for by itself.
        nested = [item for item in value.values() if isinstance(item, dict) and item]
        assert typed
        assert nested
