"""Members of a manifest, of which those that say nothing are left out."""

from __future__ import annotations

from collections.abc import Mapping

from smtrain.plugin import Json


def stated(members: Mapping[str, Json]) -> dict[str, Json]:
    """Returns the members that say something: neither None, nor False, nor empty."""
    return {
        name: value
        for name, value in members.items()
        if value is not None and value is not False and value not in ([], {})
    }


def gib(size: int | None) -> str | None:
    """Returns a size as Kubernetes writes it."""
    return None if size is None else f"{size}Gi"
