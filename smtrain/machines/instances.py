"""What the instance types of SageMaker are: accelerators, memory, network, disk, and a dated price.

The figures are in `instances.json`, each block with its source and its date. A type that SageMaker offers and of which
no figures are known is in its `unknown`: such a name is right, there is only nothing to say about the machine.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from smtrain import suggest

HOME_REGION = "us-east-1"
"""The region whose price stands in for that of another: new types come there first, and few regions are cheaper."""

PREFIX = "ml."


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceType:
    """A machine.

    Attributes:
      name: with its prefix, e.g. "ml.g5.12xlarge"; EC2's name is the part behind it.
      accelerator: what it computes on.
      gpus: NVIDIA GPUs; 0 on CPU and Trainium machines.
      gpu: the GPU's model, e.g. "A10G"; "" without one.
      gpu_memory_gib: of each GPU, as EC2 states it: a little less than the GPU's name promises.
      compute_capability: of the GPU; None without one. Hardware bfloat16 begins at 8.0 (Ampere).
      vcpus: virtual CPUs.
      memory_gib: main memory.
      efa_interfaces: network interfaces with Elastic Fabric Adapter; 0 means none.
      nvme_gib: local disks, all together; 0 means a volume of EBS and nothing else.
      usd_per_hour: on-demand price of training by region; empty when none is known.
    """

    name: str
    accelerator: Literal["gpu", "neuron", "cpu"]
    gpus: int
    gpu: str
    gpu_memory_gib: float
    compute_capability: float | None
    vcpus: int
    memory_gib: float
    efa_interfaces: int
    nvme_gib: int
    usd_per_hour: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What an hour of one instance costs.

    Attributes:
      usd_per_hour: on demand, without volume, transfer, tax or discount.
      as_of: ISO date at which this was so.
      region: whose price it is.
      estimated: whether it is another region's, for want of the one asked for.
    """

    usd_per_hour: float
    as_of: str
    region: str
    estimated: bool


def find(name: str) -> InstanceType | None:
    """Returns the type of this name, with or without `ml.`; None when no figures are known of it."""
    return _catalogue().get(_prefixed(name))


def known() -> tuple[str, ...]:
    """Returns the names of all types with figures, family by family, small to large."""
    return tuple(_catalogue())


def is_known_name(name: str) -> bool:
    """Returns whether SageMaker offers this type for training, with or without figures here."""
    return _prefixed(name) in _catalogue() or _prefixed(name) in _tables().unknown


def suggestion(name: str) -> str:
    """Returns a hint at what was meant: the likeliest type, the sizes of its family, or the families with GPUs."""
    wanted = _prefixed(name)
    families = dict.fromkeys(other.rpartition(".")[0] for other in known())
    family = wanted if wanted in families else wanted.rpartition(".")[0]
    siblings = [other for other in known() if other.rpartition(".")[0] == family]
    match = suggest.closest(wanted, siblings or known()) if family != wanted else None
    if match is not None:
        return f"Did you mean `{match}`?"
    if siblings:
        return f"Choose a size: {', '.join(siblings)}."
    with_gpus = dict.fromkeys(other.rpartition(".")[0] for other, it in _catalogue().items() if it.gpus)
    return f"Families with GPUs: {', '.join(with_gpus)}."


def price(instance: InstanceType, region: str) -> Price | None:
    """Returns what an hour costs in a region.

    Where that is not known, the price of us-east-1, or else of the first region that has one, is the estimate.

    Returns:
      None when no price of this type is known anywhere.
    """
    dated = _dates().get(instance.name, {})
    for candidate in (region, HOME_REGION, *sorted(dated)):
        if candidate in dated:
            return Price(
                usd_per_hour=instance.usd_per_hour[candidate],
                as_of=dated[candidate],
                region=candidate,
                estimated=candidate != region,
            )
    return None


def peak_flops(gpu: str) -> float | None:
    """Returns what a GPU computes at the very best, in floating-point operations a second.

    Args:
      gpu: its model as in `InstanceType.gpu`, in whatever case.

    Returns:
      The peak of dense matrix products in 16 bits, by the data sheet; None of a GPU that is not known.
    """
    found = {name.casefold(): tera for name, tera in _tables().dense_tflops.items()}.get(gpu.casefold())
    return None if found is None else found * 1e12


# ------------------------------------------------------------------------------------------------------- the data file


@dataclass(frozen=True, slots=True, kw_only=True)
class _Figures:
    accelerator: Literal["gpu", "neuron", "cpu"]
    gpus: int
    gpu: str
    gpu_memory_gib: float
    vcpus: int
    memory_gib: float
    efa_interfaces: int
    nvme_gib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prices:
    region: str
    as_of: str
    source: str
    usd_per_hour: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tables:
    types: dict[str, _Figures]
    compute_capability: dict[str, float]
    dense_tflops: dict[str, float]
    unknown: tuple[str, ...]
    prices: tuple[_Prices, ...]


@functools.cache
def _tables() -> _Tables:
    from msgspec import json

    return json.decode(Path(__file__).with_name("instances.json").read_bytes(), type=_Tables)


@functools.cache
def _catalogue() -> Mapping[str, InstanceType]:
    return MappingProxyType({name: _instance(name, figures) for name, figures in _tables().types.items()})


def _instance(name: str, figures: _Figures) -> InstanceType:
    return InstanceType(
        name=name,
        accelerator=figures.accelerator,
        gpus=figures.gpus,
        gpu=figures.gpu,
        gpu_memory_gib=figures.gpu_memory_gib,
        compute_capability=_tables().compute_capability[figures.gpu] if figures.gpu else None,
        vcpus=figures.vcpus,
        memory_gib=figures.memory_gib,
        efa_interfaces=figures.efa_interfaces,
        nvme_gib=figures.nvme_gib,
        usd_per_hour=MappingProxyType(
            {block.region: block.usd_per_hour[name] for block in _tables().prices if name in block.usd_per_hour}
        ),
    )


@functools.cache
def _dates() -> Mapping[str, Mapping[str, str]]:
    """Returns type → region → the date of its price."""
    dates: dict[str, dict[str, str]] = {}
    for block in _tables().prices:
        for name in block.usd_per_hour:
            dates.setdefault(name, {})[block.region] = block.as_of
    return dates


def _prefixed(name: str) -> str:
    return name if name.startswith(PREFIX) else PREFIX + name
