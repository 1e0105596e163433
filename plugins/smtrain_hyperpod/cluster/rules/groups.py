"""Rules of instance groups, whatever orchestrates them; lengths, patterns and enums are the service model's."""

from __future__ import annotations

from collections.abc import Iterator

from smtrain.plugin import Problem, instances
from smtrain_hyperpod.cluster.options import ClusterOptions, Group


def problems(cluster: ClusterOptions) -> Iterator[Problem]:
    """Yields what is wrong with the groups."""
    if not cluster.groups:
        what = "A cluster has instance groups, and this one has none."
        fix = "For example: cluster.groups.workers.instance_type=ml.g5.12xlarge cluster.groups.workers.count=2"
        yield Problem(key="cluster.groups", what=what, fix=fix)
    for name, group in cluster.groups.items():
        here = f"cluster.groups.{name}"
        yield from _types(group, here)
        yield from _counts(cluster, group, here)
        yield from _storage(group, here)


def _types(group: Group, here: str) -> Iterator[Problem]:
    if group.instance_type is None and not group.instance_types:
        yield Problem(key=f"{here}.instance_type", what="A value is required.", fix=f"Set it: {here}.instance_type=…")
    elif group.instance_type is not None and group.instance_types:
        what = "One instance type and a list of them are set."
        yield Problem(key=f"{here}.instance_types", what=what, fix="Leave one of them out.")
    for name in (*([group.instance_type] if group.instance_type else []), *group.instance_types):
        key = f"{here}.instance_type" if name == group.instance_type else f"{here}.instance_types"
        if not name.startswith(instances.PREFIX) and instances.is_known_name(name):
            what = f"SageMaker's names begin with `{instances.PREFIX}`."
            yield Problem(key=key, what=what, fix=f"Write {instances.PREFIX}{name}.")


def _counts(cluster: ClusterOptions, group: Group, here: str) -> Iterator[Problem]:
    if group.min_count is None:
        return
    if not cluster.continuous:
        what = "Only continuous provisioning begins with fewer instances than are asked for."
        yield Problem(key=f"{here}.min_count", what=what, fix="Set cluster.continuous=true, or leave it out.")
    elif group.min_count > group.count:
        what = f"{group.min_count} instances are needed, and {group.count} are asked for."
        yield Problem(key=f"{here}.min_count", what=what, fix=f"Set it to {group.count} or less.")


def _storage(group: Group, here: str) -> Iterator[Problem]:
    if group.volume_kms_key is not None and group.volume_gib is None:
        what = "There is no volume to be encrypted."
        fix = f"Set {here}.volume_gib, or {here}.root_kms_key for the root volume."
        yield Problem(key=f"{here}.volume_kms_key", what=what, fix=fix)
    if group.spot and group.training_plan is not None:
        what = "A training plan's capacity is reserved, and no spare capacity."
        yield Problem(key=f"{here}.spot", what=what, fix="Leave one of the two out.")
