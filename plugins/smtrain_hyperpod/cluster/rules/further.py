"""Rules of `request`: members of the API that the section has no key for, and those alone."""

from __future__ import annotations

from collections.abc import Iterator

from smtrain.plugin import Problem
from smtrain_hyperpod.cluster import request_keys
from smtrain_hyperpod.cluster.options import ClusterOptions


def problems(cluster: ClusterOptions) -> Iterator[Problem]:
    """Yields members that would be said twice."""
    for member in cluster.request:
        key = request_keys.member_keys().get(member)
        if key is not None:
            yield _twice(f"cluster.request.{member}", f"cluster.{key}")
    for name, group in cluster.groups.items():
        for member in group.request:
            key = request_keys.group_member_keys().get(member)
            if key is not None:
                own = key if " " in key or key.startswith("cluster.") else f"cluster.groups.{name}.{key}"
                yield _twice(f"cluster.groups.{name}.request.{member}", own)


def _twice(key: str, own: str) -> Problem:
    return Problem(key=key, what=f"This is said by {own}, with which it would not agree.", fix=f"Say it there: {own}")
