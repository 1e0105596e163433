"""Compiling a cluster without the command: its request, its files, and what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import msgspec
from smtrain_hyperpod.cluster import compiled, lifecycle, request
from smtrain_hyperpod.cluster.options import ClusterOptions

from smtrain.errors import Problem
from smtrain.overrides import lay_over
from smtrain.spec import Json

BASE = {
    "name": "ml",
    "region": "us-west-2",
    "role": "arn:aws:iam::123456789012:role/hyperpod",
    "lifecycle": {"store": "s3://sagemaker-lifecycle/src"},
    "groups": {
        "controller": {"kind": "controller", "instance_type": "ml.m5.12xlarge"},
        "workers": {"instance_type": "ml.p5.48xlarge", "count": 4, "partition": "gpu"},
    },
}
EKS = {
    "orchestrator": "eks",
    "eks": {"cluster_arn": "arn:aws:eks:us-west-2:123456789012:cluster/k8s"},
    "vpc": {"subnets": ["subnet-0a1b"], "security_groups": ["sg-0a1b"]},
    "groups": {"controller": None},
}


def options(base: Path | None = None, *changes: dict[str, object]) -> ClusterOptions:
    """Returns a cluster: a controller and four workers, over a base configuration where there is one."""
    said = lay_over(BASE, {"lifecycle": {"base": str(base)}} if base else {"slurm": {"topology": "api"}})
    for change in changes:
        said = lay_over(said, change)
    return msgspec.convert(said, ClusterOptions)


def base_configuration(folder: Path) -> Path:
    """Makes a folder that stands for AWS's base configuration, and returns it."""
    base = folder / "base-config"
    (base / "utils").mkdir(parents=True)
    (base / "on_create.sh").write_text("#!/bin/bash\nset -e\npython3 lifecycle_script.py\n")
    (base / "lifecycle_script.py").write_text('print("starts Slurm")\n')
    (base / "provisioning_parameters.json").write_text('{"version": "an example"}\n')
    (base / "utils" / "motd.sh").write_text("#!/bin/bash\n")
    return base


def request_of(cluster: ClusterOptions) -> dict[str, Json]:
    """Returns the CreateCluster request."""
    found = lifecycle.scripts(cluster)
    uri = found.uri(cluster)
    return request.build(cluster, request.OnCreate(uri=uri, script=found.entry) if uri and found.entry else None)


def files(cluster: ClusterOptions) -> dict[str, str]:
    """Returns name → text of the lifecycle scripts."""
    found = lifecycle.scripts(cluster).files
    return {
        file.path.removeprefix("lifecycle/"): (
            file.content.decode() if isinstance(file.content, bytes) else file.content.path.read_text()
        )
        for file in found
    }


def parameters(cluster: ClusterOptions) -> dict[str, Json]:
    """Returns provisioning_parameters.json."""
    document = json.loads(files(cluster)["provisioning_parameters.json"])
    assert isinstance(document, dict)
    return document


def errors(cluster: ClusterOptions) -> dict[str, str]:
    """Returns key → text of the errors of a cluster."""
    return told(problem for problem in compiled.problems(cluster) if problem.is_error)


def warnings(cluster: ClusterOptions) -> dict[str, str]:
    """Returns key → text of the warnings of a cluster."""
    return told(problem for problem in compiled.problems(cluster) if not problem.is_error)


def told(problems: Iterable[Problem]) -> dict[str, str]:
    """Returns key → what and fix; of several at a key, the first."""
    found: dict[str, str] = {}
    for problem in problems:
        found.setdefault(problem.key, f"{problem.what}\n{problem.fix}")
    return found
