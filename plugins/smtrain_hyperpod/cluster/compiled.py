"""Cluster → bundle: the request, the scripts, and what is done with them; pure but for reading the user's folders."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

from smtrain.plugin import (
    ApiCall,
    Bundle,
    BundleFile,
    Json,
    Probe,
    Problem,
    SectionCompiler,
    State,
    Upload,
    api_limits,
)
from smtrain_hyperpod.cluster import facts, lifecycle, price, request, request_keys
from smtrain_hyperpod.cluster.lifecycle import Scripts
from smtrain_hyperpod.cluster.options import ClusterOptions
from smtrain_hyperpod.cluster.request import OnCreate
from smtrain_hyperpod.cluster.rules import accounts, eks, further, groups, network, scripts, slurm

REQUEST = "request.json"
CREATE = "sagemaker.CreateCluster"

PROBE = Probe(
    operation="DescribeCluster",
    status="ClusterStatus",
    # No state is an end: a cluster that failed keeps its name, and is not made a second time under another.
    states={"InService": State.SUCCEEDED},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A cluster as it is to be.

    Attributes:
      cluster: what the user said.
      request: the CreateCluster request.
      scripts: the lifecycle scripts.
      bundle: both, and what creating does.
    """

    cluster: ClusterOptions
    request: dict[str, Json]
    scripts: Scripts
    bundle: Bundle


def compile_cluster(compiler: SectionCompiler[ClusterOptions]) -> Compiled:
    """Returns the cluster of the command line.

    Raises:
      SmtrainError: with everything that is wrong with it.
    """
    cluster = compiler.section(problems)
    found = lifecycle.scripts(cluster)
    asked = request.build(cluster, _on_create(cluster, found))
    return Compiled(cluster=cluster, request=asked, scripts=found, bundle=_bundle(cluster, found, asked))


def problems(cluster: ClusterOptions) -> Iterator[Problem]:
    """Yields everything that is wrong with a cluster: our rules first, then what the service's own model refuses."""
    for rules in (groups, slurm, eks, network, accounts, further):
        yield from rules.problems(cluster)
    found = lifecycle.scripts(cluster)
    yield from scripts.problems(cluster, found)
    asked = request.build(cluster, _on_create(cluster, found))
    yield from api_limits.problems(CREATE, asked, key_of=request_keys.keys_of(cluster))


def _on_create(cluster: ClusterOptions, found: Scripts) -> OnCreate | None:
    uri = found.uri(cluster)
    return OnCreate(uri=uri, script=found.entry) if uri and found.entry else None


def update_bundle(compiled: Compiled, update: dict[str, Json]) -> Bundle:
    """Returns what is uploaded before a cluster is updated, and the request that follows."""
    request_file = BundleFile(path="update.json", content=f"{json.dumps(update, indent=2)}\n".encode())
    files = tuple(file for file in compiled.bundle.files if file.path != REQUEST)
    return replace(
        compiled.bundle,
        name=f"{compiled.cluster.name}-update",
        files=(request_file, *files),
        actions=_uploads(compiled.cluster, compiled.scripts),
    )


def _uploads(cluster: ClusterOptions, found: Scripts) -> tuple[Upload, ...]:
    store = (cluster.lifecycle.store or "").rstrip("/")
    return (found.content().upload(store, region=cluster.region, kms_key=""),) if found.files else ()


def _bundle(cluster: ClusterOptions, found: Scripts, asked: dict[str, Json]) -> Bundle:
    create = ApiCall(
        service="sagemaker",
        operation="CreateCluster",
        request=REQUEST,
        name="ClusterName",
        taken="ResourceInUse",
        probe=PROBE,
        region=cluster.region,
    )
    return Bundle(
        name=cluster.name,
        backend="hyperpod cluster",
        trainer="",
        files=(BundleFile(path=REQUEST, content=f"{json.dumps(asked, indent=2)}\n".encode()), *found.files),
        actions=(*_uploads(cluster, found), create),
        cost=price.cost(cluster),
        facts=tuple(facts.facts(cluster, found)),
    )
