"""Looking at a cluster before anything is launched there; nothing is changed."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import cast

from smtrain.plugin import Bundle, Finding, Job, Json, SmtrainError, target_paths
from smtrain_hyperpod.eks import machine, operators, pod
from smtrain_hyperpod.eks.kubectl import Kubectl
from smtrain_hyperpod.eks.options import EksOptions

Look = Callable[[], Iterable[Finding]]
_REGISTRY_SECRETS = ("kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg")


def diagnose(job: Job, bundle: Bundle, options: EksOptions) -> Iterator[Finding]:
    """Yields what is found, in the order in which a submission would meet it.

    Args:
      job: the job.
      bundle: what would be submitted.
      options: the section `backend`.

    Raises:
      SmtrainError: the cluster cannot be reached, without which nothing can be seen.
    """
    del bundle
    cluster = Kubectl(context=options.context or "", namespace=options.namespace or "")
    where = cluster.run("config", "view", "--minify", "--output=jsonpath={.clusters[0].cluster.server}")
    version = json.loads(cluster.run("version", "--output=json")).get("serverVersion", {})
    yield Finding(subject="cluster", good=True, what=f"Kubernetes {version.get('gitVersion', '?')} at {where}.")
    looks: list[tuple[str, Look]] = [
        *((("namespace", partial(_namespace, cluster, options.namespace)),) if options.namespace else ()),
        ("operator", partial(_operator, cluster, options)),
        ("rights", partial(_rights, cluster, options)),
        ("nodes", partial(_nodes, cluster, job, options)),
        *(("volume", partial(_claim, cluster, name)) for name in _claims(options)),
        *(("image", partial(_pull_secret, cluster, name)) for name in options.pull_secrets),
        *(("secret", partial(_secret, cluster, name, where)) for name, where in sorted(options.secrets.items())),
    ]
    if options.service_account is not None:
        looks.append(("service account", partial(_service_account, cluster, options.service_account)))
    if options.kueue.queue is not None:
        looks.append(("queue", partial(_queue, cluster, options)))
    for subject, look in looks:
        yield from _looked(subject, look)
    for item in (job.model.reference, *(dataset.location for dataset in job.datasets)):
        if target_paths.is_on_target(item):
            yield Finding(subject="input", good=None, what=f"{item} is seen by the pods alone.")


def _looked(subject: str, look: Look) -> Iterator[Finding]:
    """Yields what a look finds; that it was refused says nothing about what was to be seen."""
    try:
        yield from look()
    except SmtrainError as error:
        problem = error.problems[0]
        yield Finding(subject=subject, good=None, what=f"It could not be looked at: {problem.what}", fix=problem.fix)


def _namespace(cluster: Kubectl, name: str) -> Iterator[Finding]:
    if cluster.get("namespace", name) is None:
        fix = "Correct backend.namespace; kubectl get namespaces lists them."
        yield Finding(subject="namespace", good=False, what=f"The cluster has no namespace {name}.", fix=fix)
    else:
        yield Finding(subject="namespace", good=True, what=f"Namespace {name} is there.")


def _operator(cluster: Kubectl, options: EksOptions) -> Iterator[Finding]:
    operator = operators.of(options)
    found = cluster.run("api-resources", f"--api-group={operator.resource.partition('.')[2]}", "--output=name").split()
    if operator.resource in found:
        yield Finding(subject="operator", good=True, what=f"The cluster knows {operator.kind}.")
    else:
        fix = "Install it, or choose the other one: backend.operator."
        yield Finding(subject="operator", good=False, what=f"The cluster does not know {operator.kind}.", fix=fix)


def _rights(cluster: Kubectl, options: EksOptions) -> Iterator[Finding]:
    wanted = [(verb, operators.of(options).resource) for verb in ("create", "get", "delete")]
    wanted += [(verb, "configmaps") for verb in ("create", "patch")]
    wanted += [("list", "pods"), ("get", "pods/log")]
    lacking = [f"{verb} {what}" for verb, what in wanted if not _may(cluster, verb, what)]
    if lacking:
        fix = "Have a role of the namespace that allows it."
        yield Finding(subject="rights", good=False, what=f"You may not {', '.join(lacking)}.", fix=fix)
    else:
        yield Finding(subject="rights", good=True, what="You may submit, follow and stop jobs.")


def _may(cluster: Kubectl, verb: str, what: str) -> bool:
    # `can-i` itself fails where the answer is no.
    resource, slash, part = what.partition("/")
    words = ("auth", "can-i", verb, resource, *((f"--subresource={part}",) if slash else ()))
    try:
        return cluster.run(*words).strip() == "yes"
    except SmtrainError:
        return False


def _nodes(cluster: Kubectl, job: Job, options: EksOptions) -> Iterator[Finding]:
    selector = {
        **({pod.INSTANCE_TYPE: machine.label(job) or ""} if machine.label(job) else {}),
        **options.node_selector,
    }
    labels = ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
    nodes = cluster.items("nodes", *((f"--selector={labels}",) if labels else ()))
    ready = [node for node in nodes if _is_ready(node)]
    wanted, kind = job.topology.nodes, machine.label(job) or "any type"
    if not nodes:
        there = ", ".join(sorted(set(_types(cluster)))) or "none at all"
        what = f"The cluster has no node that is {labels or 'of any kind'}; it has {there}."
        fix = "Choose one of those types, or add an instance group: smtrain cluster."
        yield Finding(subject="nodes", good=False, what=what, fix=fix)
    elif len(ready) < wanted:
        what = f"{wanted} nodes are wanted; of {kind} the cluster has {len(ready)} that are ready, of {len(nodes)}."
        yield Finding(subject="nodes", good=False, what=what, fix="Lower compute.nodes, or scale the group.")
    else:
        yield Finding(subject="nodes", good=True, what=f"{len(ready)} nodes of {kind} are ready.")
    gpus = machine.gpus(job)
    poor = [node for node in ready if gpus and _allocatable(node, options.gpu_resource) < gpus]
    if ready and len(ready) - len(poor) < wanted and poor:
        what = f"{len(poor)} of them offer fewer than {gpus} {options.gpu_resource}."
        yield Finding(subject="nodes", good=False, what=what, fix="See whether the device plugin runs there.")


def _types(cluster: Kubectl) -> Iterator[str]:
    for node in cluster.items("nodes"):
        labels = cast("dict[str, Json]", node["metadata"]).get("labels")
        kind = labels.get(pod.INSTANCE_TYPE) if isinstance(labels, dict) else None
        if isinstance(kind, str):
            yield kind


def _is_ready(node: Mapping[str, Json]) -> bool:
    conditions = _inside(node, "status").get("conditions")
    ready = any(
        each.get("type") == "Ready" and each.get("status") == "True"
        for each in (conditions if isinstance(conditions, list) else [])
        if isinstance(each, dict)
    )
    return ready and not _inside(node, "spec").get("unschedulable")


def _allocatable(node: Mapping[str, Json], resource: str) -> int:
    return int(str(_inside(_inside(node, "status"), "allocatable").get(resource) or 0))


def _claims(options: EksOptions) -> list[str]:
    return [volume.claim for volume in options.volumes.values() if volume.claim is not None]


def _claim(cluster: Kubectl, name: str) -> Iterator[Finding]:
    found = cluster.get("persistentvolumeclaim", name)
    if found is None:
        fix = "Correct backend.volumes; kubectl get pvc lists them."
        yield Finding(subject="volume", good=False, what=f"There is no claim {name} in the namespace.", fix=fix)
        return
    phase = str(_inside(found, "status").get("phase"))
    # A claim that waits for its first pod is bound with that.
    good = True if phase == "Bound" else None if phase == "Pending" else False
    yield Finding(subject="volume", good=good, what=f"Claim {name} is {phase}.")


def _pull_secret(cluster: Kubectl, name: str) -> Iterator[Finding]:
    found = cluster.get("secret", name)
    if found is None:
        fix = f"Make it: kubectl create secret docker-registry {name} --docker-server=… --docker-username=…"
        yield Finding(subject="image", good=False, what=f"There is no secret {name} to pull the image with.", fix=fix)
    elif found.get("type") not in _REGISTRY_SECRETS:
        what = f"Secret {name} is of type {found.get('type')}, and registries want {_REGISTRY_SECRETS[0]}."
        yield Finding(subject="image", good=False, what=what, fix="Make it with kubectl create secret docker-registry.")
    else:
        yield Finding(subject="image", good=True, what=f"Secret {name} to pull the image with is there.")


def _secret(cluster: Kubectl, variable: str, reference: str) -> Iterator[Finding]:
    name, _, key = reference.partition("/")
    found = cluster.get("secret", name)
    content = _inside(found or {}, "data")
    if found is None:
        what = f"There is no secret {name}, which {variable} is taken from."
        fix = f"Make it: kubectl create secret generic {name} --from-file={key}=FILE"
        yield Finding(subject="secret", good=False, what=what, fix=fix)
    elif key not in content:
        what = f"Secret {name} has no key {key}; it has {', '.join(sorted(content)) or 'none'}."
        yield Finding(subject="secret", good=False, what=what, fix=f"Correct backend.secrets.{variable}.")
    elif not _is_filled(content[key]):
        yield Finding(subject="secret", good=False, what=f"Key {key} of secret {name} is empty.", fix="Fill it.")
    else:
        yield Finding(subject="secret", good=True, what=f"{variable} is taken from {reference}.")


def _is_filled(encoded: Json) -> bool:
    try:
        return bool(base64.b64decode(str(encoded), validate=True))
    except (binascii.Error, ValueError):
        return False


def _service_account(cluster: Kubectl, name: str) -> Iterator[Finding]:
    if cluster.get("serviceaccount", name) is None:
        fix = "Correct backend.service_account; kubectl get serviceaccounts lists them."
        what = f"There is no service account {name} in the namespace."
        yield Finding(subject="service account", good=False, what=what, fix=fix)
    else:
        yield Finding(subject="service account", good=True, what=f"Service account {name} is there.")


def _queue(cluster: Kubectl, options: EksOptions) -> Iterator[Finding]:
    queue, priority = options.kueue.queue or "", options.kueue.priority
    for kind, name, key in (
        ("localqueues.kueue.x-k8s.io", queue, "queue"),
        ("workloadpriorityclasses.kueue.x-k8s.io", priority, "priority"),
    ):
        if name is None:
            continue
        if cluster.get(kind, name) is None:
            there = [str(_inside(each, "metadata").get("name")) for each in cluster.items(kind)]
            what = f"Kueue has no {key} {name} here; it has {', '.join(there) or 'none'}."
            yield Finding(subject="queue", good=False, what=what, fix=f"Correct backend.kueue.{key}.")
        else:
            yield Finding(subject="queue", good=True, what=f"Kueue has the {key} {name}.")


def _inside(value: Mapping[str, Json], member: str) -> dict[str, Json]:
    found = value.get(member)
    return found if isinstance(found, dict) else {}
