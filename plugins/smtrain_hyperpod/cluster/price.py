"""What a cluster costs an hour, at the list price."""

from __future__ import annotations

from smtrain.plugin import Cost, instances
from smtrain_hyperpod.cluster.options import ClusterOptions, Group


def cost(cluster: ClusterOptions) -> Cost | None:
    """Returns what all instances cost while the cluster is there; None when a price is not known."""
    total, bases = 0.0, set()
    for group in cluster.groups.values():
        if group.count == 0:
            continue
        found = _of_one(group, cluster.region)
        if found is None:
            return None
        usd, basis = found
        total += usd * group.count
        bases.add(basis)
    return Cost(usd_per_hour=total, max_hours=None, basis="; ".join(sorted(bases)))


def unknown(cluster: ClusterOptions) -> tuple[str, ...]:
    """Returns the names of the groups whose price is not known."""
    return tuple(
        name for name, group in cluster.groups.items() if group.count and _of_one(group, cluster.region) is None
    )


def _of_one(group: Group, region: str) -> tuple[float, str] | None:
    if group.usd_per_hour is not None:
        return group.usd_per_hour, "cluster.groups.*.usd_per_hour"
    name = group.instance_type or next(iter(group.instance_types), "")
    machine = instances.find(name)
    price = instances.price(machine, region) if machine else None
    if price is None:
        return None
    basis = f"list price of training in {price.region} on {price.as_of}, as an estimate"
    if group.training_plan:
        basis += "; a training plan is paid in advance"
    return price.usd_per_hour, basis
