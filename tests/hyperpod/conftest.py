"""What the tests of HyperPod share."""

from __future__ import annotations

from slurm_machine import accounting_machine, slurm_machine
from ssh_server import ssh_server

__all__ = ["accounting_machine", "slurm_machine", "ssh_server"]
