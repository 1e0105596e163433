"""Rules of the lifecycle scripts.

Source of the bucket's name: API_ClusterLifeCycleConfig; the policy AmazonSageMakerClusterInstanceRolePolicy lets nodes
read buckets called sagemaker-* and no other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from smtrain.plugin import Problem, bucket_names, suggest, warning
from smtrain_hyperpod.cluster import topology, users
from smtrain_hyperpod.cluster.lifecycle import FOLDER, Scripts
from smtrain_hyperpod.cluster.options import ClusterOptions

_BASE = (
    "git clone https://github.com/awslabs/awsome-distributed-ai, and name its folder 1.architectures/\n"
    "5.sagemaker-hyperpod/LifecycleScripts/base-config: cluster.lifecycle.base=FOLDER"
)

_OPENZFS = re.compile(rb"^ *enable_fsx_openzfs *= *True\b", re.MULTILINE)


def problems(cluster: ClusterOptions, scripts: Scripts) -> Iterator[Problem]:
    """Yields what is wrong with the scripts, and with where they are to be."""
    yield from scripts.problems
    yield from _store(cluster, scripts)
    if any(problem.is_error for problem in scripts.problems):
        return  # what is there is not known
    yield from _base(cluster, scripts)
    yield from _entry(cluster, scripts)
    yield from _overlay(cluster, scripts)
    yield from _switches(cluster, scripts)


def _store(cluster: ClusterOptions, scripts: Scripts) -> Iterator[Problem]:
    store, key = cluster.lifecycle.store, "cluster.lifecycle.store"
    if store is None:
        if scripts.files or topology.has_file(cluster):
            fix = f"Set it: {key}=s3://sagemaker-…/PREFIX, in the region of the cluster."
            yield Problem(key=key, what="The scripts of new nodes are uploaded to S3; a place is required.", fix=fix)
    elif fault := bucket_names.fault(store):
        yield Problem(key=key, what=fault, fix=bucket_names.RULE)
    elif not store.startswith("s3://sagemaker-"):
        what = "AWS's policy for the role of instances reads buckets whose names begin with `sagemaker-`, not this one."
        yield warning(key, what, "Take such a bucket, or allow s3:GetObject and s3:ListBucket to cluster.role.")


def _base(cluster: ClusterOptions, scripts: Scripts) -> Iterator[Problem]:
    if not topology.has_file(cluster):
        return
    key = "cluster.lifecycle.base"
    if cluster.lifecycle.base is None and cluster.lifecycle.overlay is None:
        what = f"AWS's base configuration starts Slurm from {topology.PARAMETERS}, and is not here."
        yield Problem(key=key, what=what, fix=f"{_BASE}\nOr set cluster.slurm.topology=api, which needs none.")
    elif "lifecycle_script.py" not in scripts.names:
        folder = cluster.lifecycle.base or cluster.lifecycle.overlay
        what = f"`{folder}` is not AWS's base configuration: it has no lifecycle_script.py."
        yield Problem(key=key, what=what, fix=_BASE)


def _entry(cluster: ClusterOptions, scripts: Scripts) -> Iterator[Problem]:
    wanted, key = cluster.lifecycle.on_create, "cluster.lifecycle.on_create"
    folders = [folder for folder in (cluster.lifecycle.base, cluster.lifecycle.overlay) if folder is not None]
    if not scripts.has_user_entry:
        if folders:
            what = f"There is no `{wanted}` in {' or '.join(f'`{folder}`' for folder in folders)}."
            shells = [name for name in scripts.names if name.endswith((".sh", ".py")) and "/" not in name]
            yield Problem(key=key, what=what, fix=suggest.did_you_mean(wanted, sorted(shells)))
        return
    text = _content(scripts, wanted)
    first = text.split(b"\n", 1)[0]
    if first.endswith(b"\r"):
        what = f"`{wanted}` has line ends of Windows, with which no node can run it."
        yield Problem(key=key, what=what, fix=f"Convert it: sed -i 's/\\r$//' {wanted}")
    elif not first.startswith(b"#!"):
        what = f"`{wanted}` does not begin with `#!`, so what runs it is not said."
        yield Problem(key=key, what=what, fix="Begin it with: #!/bin/bash")
    elif cluster.slurm.topology == "api" and topology.PARAMETERS.encode() in text:
        what = f"`{wanted}` reads {topology.PARAMETERS}, which there is not with the topology in the request."
        fix = (
            "Lay a script of your own over it (cluster.lifecycle.overlay), leave cluster.lifecycle.base out,\n"
            "or set cluster.slurm.topology=file."
        )
        yield Problem(key=key, what=what, fix=fix)


def _switches(cluster: ClusterOptions, scripts: Scripts) -> Iterator[Problem]:
    """Yields when the base configuration would leave out what the section asks for."""
    if not topology.has_file(cluster) or cluster.fsx.openzfs is None or "config.py" not in scripts.names:
        return
    if not _OPENZFS.search(_content(scripts, "config.py")):
        what = (
            "AWS's base configuration mounts FSx for OpenZFS only where its config.py says so, and this one does not."
        )
        fix = "Lay a copy over it that has `enable_fsx_openzfs = True`: cluster.lifecycle.overlay"
        yield Problem(key="cluster.fsx.openzfs", what=what, fix=fix)


def _content(scripts: Scripts, name: str) -> bytes:
    file = next(file for file in scripts.files if file.path == f"{FOLDER}/{name}")
    return file.content if isinstance(file.content, bytes) else file.content.path.read_bytes()


def _overlay(cluster: ClusterOptions, scripts: Scripts) -> Iterator[Problem]:
    generated = {topology.PARAMETERS: "the groups and file systems of this section"}
    if cluster.users:
        generated[users.SHARED_USERS] = "cluster.users"
    for name, source in generated.items():
        file = next((file for file in scripts.files if file.path == f"{FOLDER}/{name}"), None)
        if file is not None and not isinstance(file.content, bytes):
            what = f"It has a {name}, which is made from {source}."
            yield Problem(key="cluster.lifecycle.overlay", what=what, fix="Remove that file from the folder.")
