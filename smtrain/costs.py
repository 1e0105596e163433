"""What runs cost, as text."""

from __future__ import annotations

from collections.abc import Sequence

from smtrain.spec import Cost, Receipt, State


def text(costs: Sequence[Cost]) -> str:
    """Returns what one run, or several together, cost an hour and at most."""
    together = f" for {len(costs)} runs" if len(costs) > 1 else ""
    hourly = f"{usd(sum(cost.usd_per_hour for cost in costs))}/hour{together}"
    limits = [cost.max_hours for cost in costs]
    bases = "; ".join(dict.fromkeys(cost.basis for cost in costs if cost.basis))
    if None in limits:
        return f"{hourly}, with no limit of time; {bases}".removesuffix("; ")
    most = usd(sum(cost.usd_per_hour * (cost.max_hours or 0) for cost in costs))
    hours = f" ({limits[0]:g} h)" if len(set(limits)) == 1 else ""
    return f"{hourly}, at most {most}{hours}; {bases}".removesuffix("; ")


def so_far(receipt: Receipt) -> str:
    """Returns what a run has cost; "" when nobody knows."""
    if receipt.usd is None:
        return ""
    return f"{usd(receipt.usd)}{' so far' if receipt.state is State.RUNNING else ''}"


def usd(amount: float) -> str:
    """Returns an amount of US dollars."""
    return f"${amount:,.2f}"
