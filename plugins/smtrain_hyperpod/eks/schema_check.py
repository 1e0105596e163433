"""Whether a manifest is one that the operator's own schema takes; see `generate_k8s_schemas`."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import cast

from smtrain.plugin import Json, Problem

_KEYS: tuple[tuple[str, str], ...] = (
    ("nodeSelector", "backend.node_selector"),
    ("tolerations", "backend.tolerations"),
    ("volumes", "backend.volumes"),
    ("volumeMounts", "backend.volumes"),
    ("env", "backend.environment"),
    ("resources", "backend.memory_gib"),
    ("image", "backend.image"),
    ("elasticPolicy", "backend.elastic"),
    ("logMonitoringConfiguration", "backend.log_rules"),
    ("runPolicy", "backend.restarts"),
    ("labels", "backend.labels"),
    ("annotations", "backend.annotations"),
)
"""Member of a manifest → the key behind it."""


def problems(manifest: Mapping[str, Json], schema: str) -> Iterator[Problem]:
    """Yields what the schema refuses of a manifest.

    Args:
      manifest: the job.
      schema: file of its schema in `schemas/k8s/`.
    """
    from jsonschema import Draft202012Validator

    for error in sorted(Draft202012Validator(_schema(schema)).iter_errors(manifest), key=lambda error: error.json_path):
        what = f"{manifest.get('kind')} does not take `{error.json_path.removeprefix('$.')}`: {error.message}."
        members = {str(part) for part in error.absolute_path}
        key = next((key for member, key in _KEYS if member in members), "backend")
        yield Problem(
            key=key, what=what, fix="Change it; if no setting of yours is behind it, this is a fault of smtrain."
        )


@functools.cache
def _schema(name: str) -> dict[str, Json]:
    text = (resources.files("smtrain_schemas") / "k8s" / name).read_text(encoding="utf-8")
    return cast("dict[str, Json]", json.loads(text))
