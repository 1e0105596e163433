"""The processes of a training: who this one is, where it computes, and what all agree on."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Literal

import torch
import torch.distributed as dist

TIMEOUT = timedelta(minutes=30)
"""How long one process waits for another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """This process among all.

    Attributes:
      rank: its number over all nodes.
      local_rank: its number on this node.
      world_size: how many there are over all nodes.
      device: where it computes.
      shares_output: whether the nodes have the output folder in common; the first process of all then writes for all.
    """

    rank: int
    local_rank: int
    world_size: int
    device: torch.device
    shares_output: bool = False

    @property
    def is_first(self) -> bool:
        """Whether it is the first of all."""
        return self.rank == 0

    @property
    def is_first_here(self) -> bool:
        """Whether it is the first of its node, which writes what each node needs."""
        return self.local_rank == 0

    @property
    def is_writer(self) -> bool:
        """Whether it writes into the output folder what one process of each such folder has to."""
        return self.is_first or (self.is_first_here and not self.shares_output)

    def with_output(self, folder: Path) -> Processes:
        """Returns this process, told whether the nodes have an output folder in common; all must call this."""
        if self.world_size == 1:
            return self
        folder.mkdir(parents=True, exist_ok=True)
        # A name that no node has asked for before: network file systems remember for a while what was not there.
        token = int(self.sum(float(secrets.randbelow(2**40)) if self.is_first else 0.0)[0])
        mark = folder / f".shared-{token}"
        if self.is_first:
            mark.touch()
        self.wait()
        shares = mark.exists()
        self.wait()
        if self.is_first:
            mark.unlink()
        return replace(self, shares_output=shares)

    def sum(self, *values: float) -> list[float]:
        """Returns each value's sum over all processes, in double precision."""
        if self.world_size == 1:
            return list(values)
        # gloo and NCCL both add doubles; the values are few.
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return [float(value) for value in total.tolist()]

    def added(self, values: torch.Tensor) -> torch.Tensor:
        """Returns a tensor's sum over all processes, on the CPU."""
        if self.world_size == 1:
            return values
        total = values.to(self.device)
        dist.all_reduce(total)
        return total.cpu()

    def any(self, *, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return self.sum(float(flag))[0] > 0

    def wait(self) -> None:
        """Waits for all."""
        if self.world_size > 1:
            dist.barrier()


@contextlib.contextmanager
def joined(device: Literal["auto", "gpu", "cpu"], *, deepspeed: bool = False) -> Iterator[Processes]:
    """Joins the processes that the launcher started; alone without a launcher.

    Args:
      device: "auto" takes a GPU where there is one.
      deepspeed: whether DeepSpeed will run, which wants a process group for one process, too.
    """
    world_size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    on_gpu = device == "gpu" or (device == "auto" and torch.cuda.is_available())
    here = torch.device("cuda", local_rank) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(here)
    grouped = world_size > 1 or deepspeed
    if grouped:
        _address(world_size)
        dist.init_process_group("nccl" if on_gpu else "gloo", rank=rank, world_size=world_size, timeout=TIMEOUT)
    processes = Processes(rank=rank, local_rank=local_rank, world_size=world_size, device=here)
    try:
        yield processes
        # With gloo, one that leaves resets connections on which another may still have to read.
        processes.wait()
    finally:
        if grouped and dist.is_initialized():
            dist.destroy_process_group()


def _address(world_size: int) -> None:
    """Says where to meet, for one process that no launcher started."""
    if world_size > 1 or "MASTER_PORT" in os.environ:
        return
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    for name, value in (("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", str(port)), ("RANK", "0"), ("WORLD_SIZE", "1")):
        os.environ.setdefault(name, value)
    os.environ.setdefault("LOCAL_RANK", "0")


class Interruption:
    """Notes that the training was asked to end (SIGTERM), so that it can save first."""

    def __init__(self) -> None:
        """Watches for the signal from now on."""
        self.asked = False
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True
