"""What a job must be for Kubernetes, whatever the program is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from smtrain.plugin import Job, Problem, instances, warning
from smtrain_hyperpod.eks import machine, names, operators
from smtrain_hyperpod.eks.options import EksOptions
from smtrain_hyperpod.eks.rules import environment_rules, operator_rules, volume_rules

RUN_DIGEST = 1 + 10
"""Characters of a run's id behind its name: a dash and its digest."""

RETRY = len("-t9")
"""Characters by which another try of a run is named."""


def problems(job: Job, options: EksOptions) -> Iterator[Problem]:
    """Yields every reason why the cluster could not run a job as it is configured."""
    yield from _name(job, options)
    yield from _image(options)
    yield from machine.problems(job, options)
    yield from _amounts(job, options)
    yield from _objects(options)
    yield from _labels(options)
    yield from operator_rules.problems(job, options)
    yield from volume_rules.problems(job, options)
    yield from environment_rules.problems(job, options)
    yield from _code(options)


def _name(job: Job, options: EksOptions) -> Iterator[Problem]:
    name, longest = job.run.name, operators.of(options).longest_name(job.topology.nodes) - RUN_DIGEST - RETRY
    if not names.is_job_name(name):
        what = f"`{name}` is no DNS label, which the name of a job must be, since its pods are found under it."
        begun = re.sub(r"[^a-z0-9-]", "-", name.lower()).strip("-")
        wanted = begun if names.is_job_name(begun) else f"run-{begun}"
        yield Problem(key="name", what=what, fix=f"Lower-case letters, digits and `-`, a letter first: name={wanted}.")
    elif len(name) > longest:
        what = (
            f"`{name}` has {len(name)} characters; the names of pods and services begin with it, so {longest} are left."
        )
        yield Problem(key="name", what=what, fix="Shorten it.")


def _image(options: EksOptions) -> Iterator[Problem]:
    if not _IMAGE.fullmatch(options.image):
        what = f"{options.image!r} names no image."
        fix = "Write REGISTRY/REPOSITORY:TAG, such as 123456789012.dkr.ecr.us-east-1.amazonaws.com/train:1."
        yield Problem(key="backend.image", what=what, fix=fix)
    elif ":" not in options.image.rpartition("/")[2] and "@" not in options.image:
        what = f"`{options.image}` has no tag, so each node takes what `latest` is when it pulls."
        yield warning("backend.image", what, "Add a tag, or a digest.")


def _amounts(job: Job, options: EksOptions) -> Iterator[Problem]:
    """No node would ever have room for a pod that wants more than its type has; the pod would wait for ever."""
    known = instances.find(job.run.compute.instance_type or "")
    for key, wanted, has, unit in (
        ("vcpus", options.vcpus, known.vcpus if known else 0, "vCPUs"),
        ("memory_gib", options.memory_gib, known.memory_gib if known else 0, "GiB"),
    ):
        if known is not None and wanted is not None and wanted > has:
            what = f"A pod asks for {wanted:g} {unit}, and {known.name} has {has:g}, some of which is the node's own."
            yield Problem(key=f"backend.{key}", what=what, fix="Lower it, or leave it out.")
    if options.hugepages_mib is not None and options.memory_gib is None and options.vcpus is None:
        what = "Kubernetes gives huge pages only to pods that ask for memory or CPUs as well."
        yield Problem(key="backend.hugepages_mib", what=what, fix="Set backend.memory_gib, e.g. 64.")
    if options.hugepages_mib is not None and options.hugepages_mib % 2:
        what = f"{options.hugepages_mib} MiB are no whole number of pages of 2 MiB."
        yield Problem(key="backend.hugepages_mib", what=what, fix=f"Set {options.hugepages_mib + 1}.")


def _objects(options: EksOptions) -> Iterator[Problem]:
    given: list[tuple[str, str | None]] = [("pull_secrets", name) for name in options.pull_secrets]
    given += [("service_account", options.service_account), ("priority_class", options.priority_class)]
    for key, name in given:
        if name is not None and not names.is_subdomain(name):
            yield Problem(key=f"backend.{key}", what=f"{name!r} is no name of Kubernetes.", fix=names.SUBDOMAIN_RULE)
    if options.namespace is not None and not names.is_label(options.namespace):
        what = f"{options.namespace!r} is no name of a namespace."
        yield Problem(key="backend.namespace", what=what, fix=names.LABEL_RULE)
    if options.context is not None and not options.context.strip():
        yield Problem(key="backend.context", what="It is empty.", fix="kubectl config get-contexts lists them.")


def _labels(options: EksOptions) -> Iterator[Problem]:
    yield from names.mapping_problems("backend.labels", options.labels)
    yield from names.mapping_problems("backend.annotations", options.annotations, values=False)
    yield from names.mapping_problems("backend.node_selector", options.node_selector)
    for toleration in options.tolerations:
        if toleration.key is not None and not names.is_label_key(toleration.key):
            what = f"{toleration.key!r} is no key of a taint."
            yield Problem(key="backend.tolerations", what=what, fix="Write it like nvidia.com/gpu.")
        elif toleration.key is None and toleration.value is not None:
            what = f"The value {toleration.value!r} is tolerated of no taint, since no key is named."
            yield Problem(key="backend.tolerations", what=what, fix="Name the key, or leave the value out.")
        elif toleration.value is not None and not names.is_label_value(toleration.value):
            what = f"{toleration.value!r} is no value of a taint."
            yield Problem(key="backend.tolerations", what=what, fix=names.VALUE_RULE)
    if not names.is_label_key(options.gpu_resource) or "/" not in options.gpu_resource:
        what = f"{options.gpu_resource!r} is no name of a device."
        yield Problem(
            key="backend.gpu_resource", what=what, fix="Write it like nvidia.com/gpu, or nvidia.com/mig-3g.20gb."
        )


def _code(options: EksOptions) -> Iterator[Problem]:
    folder, index = options.source_dir, options.install.index_url
    # An empty path would be the current folder.
    if folder is not None and not (folder.strip() and Path(folder).expanduser().is_dir()):
        what = f"There is no folder `{folder}`."
        yield Problem(key="backend.source_dir", what=what, fix="Relative paths start at the current folder, `.`.")
    if index is not None and not re.fullmatch(r"https?://[^\s@]+", index):
        shown = f"`{index}`" if "@" not in index else "It"
        what = f"{shown} is no address of a package index, or has a password in it, which would be in the bundle."
        yield Problem(key="backend.install.index_url", what=what, fix="Write https://HOST/PATH.")
    if not options.python.isprintable() or not options.python.strip():
        what = f"{options.python!r} is no name of a program."
        yield Problem(key="backend.python", what=what, fix="Name the interpreter alone, e.g. /opt/conda/bin/python.")


_IMAGE = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::\d+)?/)?"
    r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?",
    re.ASCII,
)
"""github.com/distribution/reference, reference.go."""
