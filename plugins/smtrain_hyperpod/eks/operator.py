"""What an operator is to the backend: what it calls a job, and what it tells a pod."""

from __future__ import annotations

from typing import Protocol

from smtrain.plugin import BundleFile, Job, Json
from smtrain_hyperpod.eks.config_maps import ConfigMap
from smtrain_hyperpod.eks.options import EksOptions

Maps = tuple[ConfigMap, ...]


class Operator(Protocol):
    """What differs between the operators."""

    @property
    def kind(self) -> str:
        """What a job is called."""
        ...

    @property
    def resource(self) -> str:
        """What kubectl calls jobs: plural and group."""
        ...

    @property
    def schema(self) -> str:
        """File of the schema in `schemas/k8s/`."""
        ...

    @property
    def node(self) -> str:
        """Bash source that binds NODE_RANK, NUM_NODES, MASTER_ADDR and MASTER_PORT from what it tells a pod."""
        ...

    def told(self, rank: int, nodes: int, address: str, port: int) -> dict[str, str]:
        """Returns the variables by which a pod is told its place, for a rehearsal.

        Args:
          rank: of the pod.
          nodes: how many pods there are.
          address: of the first one.
          port: on which the processes meet.
        """
        ...

    def longest_name(self, nodes: int) -> int:
        """Returns how long a job's name may be, so that what the operator names after it still has a name."""
        ...

    def scripts(self, options: EksOptions) -> tuple[BundleFile, ...]:
        """Returns what a pod starts before launch.sh."""
        ...

    def manifest(self, job: Job, options: EksOptions, maps: Maps) -> dict[str, Json]:
        """Returns the job."""
        ...
