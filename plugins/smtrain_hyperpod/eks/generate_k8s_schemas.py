"""Writes the schemas of the operators' jobs, against which every manifest is checked before it is sent.

    pip download --no-deps sagemaker-hyperpod==3.12.0
    curl -LO https://raw.githubusercontent.com/kubeflow/trainer/v1.9.4/manifests/base/crds/kubeflow.org_pytorchjobs.yaml
    python plugins/smtrain_hyperpod/eks/generate_k8s_schemas.py \
        sagemaker_hyperpod-*.whl kubeflow.org_pytorchjobs.yaml v1.9.4 schemas/k8s

It needs pydantic, which smtrain does not. The definition of HyperPodPyTorchJob is published nowhere; the model that
AWS's own client sends is, and stands in for it. What is written is the structure alone, without the prose around it;
members that a schema does not name are refused, as `kubectl apply` does (it asks the server for strict validation).
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias, cast

import yaml

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"
"""As smtrain.plugin has it; this script runs where smtrain need not be."""

MODEL = "sagemaker/hyperpod/training/config/hyperpod_pytorch_job_unified_config.py"
KEPT = frozenset(
    {"$ref", "type", "const", "enum", "pattern", "required", "format", "minimum", "maximum", "minLength", "maxLength",
     "minItems", "maxItems", "nullable"}
)  # fmt: skip
"""Words of a schema that are taken over as they are; those that hold schemas are in `_structure`."""


def main(wheel: str, crd: str, crd_version: str, folder: str) -> None:
    """Writes one file a kind."""
    version = Path(wheel).name.split("-")[1]
    documents = {
        "hyperpodpytorchjob-v1.json": _document(
            "sagemaker.amazonaws.com/v1",
            "HyperPodPyTorchJob",
            _hyperpod(wheel),
            source=f"sagemaker-hyperpod {version} on PyPI, {MODEL}",
        ),
        "pytorchjob-v1.json": _document(
            "kubeflow.org/v1",
            "PyTorchJob",
            _kubeflow(crd),
            source=f"github.com/kubeflow/trainer {crd_version}, manifests/base/crds/kubeflow.org_pytorchjobs.yaml",
        ),
    }
    for name, document in documents.items():
        Path(folder, name).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        print(name)


def _document(api_version: str, kind: str, spec: dict[str, Json], *, source: str) -> dict[str, Json]:
    definitions = spec.pop("$defs", {})
    labels: Json = {"type": "object", "additionalProperties": {"type": "string"}}
    metadata: Json = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "namespace": {"type": "string"},
            "labels": labels,
            "annotations": labels,
        },
        "required": ["name"],
        "additionalProperties": False,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": f"Structure of {source}; written by generate_k8s_schemas.py.",
        "type": "object",
        "properties": {
            "apiVersion": {"const": api_version},
            "kind": {"const": kind},
            "metadata": metadata,
            "spec": spec,
        },
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": False,
        "$defs": definitions,
    }


def _hyperpod(wheel: str) -> dict[str, Json]:
    """Returns the schema of the pydantic model's spec, by the names that go over the wire."""
    with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(wheel) as archive:
        path = Path(archive.extract(MODEL, scratch))
        found = importlib.util.spec_from_file_location("hyperpod_model", path)
        if found is None or found.loader is None:
            raise ImportError(path)
        module = importlib.util.module_from_spec(found)
        sys.modules["hyperpod_model"] = module  # pydantic looks annotations up in it
        found.loader.exec_module(module)
        schema = module._HyperPodPytorchJob.model_json_schema(by_alias=False)  # noqa: SLF001  # it has no other name
    return _structure(schema)


def _kubeflow(crd: str) -> dict[str, Json]:
    definition = yaml.safe_load(Path(crd).read_text(encoding="utf-8"))
    (version,) = [version for version in definition["spec"]["versions"] if version["name"] == "v1"]
    return _structure(version["schema"]["openAPIV3Schema"]["properties"]["spec"])


def _structure(schema: Mapping[str, Json]) -> dict[str, Json]:
    """Returns a schema without prose, which refuses members that it does not name."""
    kept: dict[str, Json] = {key: value for key, value in schema.items() if key in KEPT}
    if kept.get("format") not in (None, "date-time"):
        del kept["format"]  # int32 and its like are OpenAPI's
    for key in ("properties", "$defs"):
        if key in schema:
            kept[key] = {name: _structure(_object(inner)) for name, inner in _object(schema[key]).items()}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            kept[key] = _structure(_object(schema[key]))
    for key in ("anyOf", "oneOf", "allOf"):
        # pydantic says that a member may be left out by letting it be null, which is never sent.
        inner = [_structure(_object(each)) for each in cast("list[Json]", schema.get(key, []))]
        stated = [each for each in inner if each != {"type": "null"}]
        kept |= stated[0] if key == "anyOf" and len(stated) == 1 else {key: list(stated)} if stated else {}
    if schema.get("x-kubernetes-int-or-string"):
        kept["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in kept
    if "properties" in kept and not open_ended:
        kept["additionalProperties"] = False
    return kept


def _object(value: Json) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise TypeError(value)
    return value


if __name__ == "__main__":
    main(*sys.argv[1:])
