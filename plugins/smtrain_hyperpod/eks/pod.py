"""The pod template, which is the same under every operator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from smtrain.plugin import RUN_ID, Job, Json
from smtrain_hyperpod.eks import layout, machine
from smtrain_hyperpod.eks.config_maps import ConfigMap
from smtrain_hyperpod.eks.options import EksOptions, Toleration, Volume
from smtrain_hyperpod.eks.statements import gib, stated

JOB_LABEL = "app.kubernetes.io/instance"
"""Has the job's name on it and on its pods; kubernetes.io/docs/concepts/overview/working-with-objects/common-labels."""

INSTANCE_TYPE = "node.kubernetes.io/instance-type"
DEEP_HEALTH = "sagemaker.amazonaws.com/deep-health-check-status"
QUEUE = "kueue.x-k8s.io/queue-name"
PRIORITY = "kueue.x-k8s.io/priority-class"
PREFERRED = "kueue.x-k8s.io/podset-preferred-topology"
REQUIRED = "kueue.x-k8s.io/podset-required-topology"

LAST_WORDS_S = 60
"""Beyond its grace, a pod has this for the last checkpoint before it is killed."""

_NOTHING: Mapping[str, str] = {}


def template(
    job: Job,
    options: EksOptions,
    maps: Iterable[ConfigMap],
    *,
    container: dict[str, Json],
    nodes: Mapping[str, str] = _NOTHING,
) -> dict[str, Json]:
    """Returns the pod template.

    Args:
      job: the job.
      options: of the backend.
      maps: ConfigMaps with the files of the run.
      container: the pods' one container.
      nodes: labels that the operator wants of nodes.
    """
    spec: dict[str, Json] = {
        "serviceAccountName": options.service_account,
        "imagePullSecrets": [{"name": name} for name in options.pull_secrets],
        "nodeSelector": _node_selector(job, options, nodes),
        "tolerations": [_toleration(each) for each in options.tolerations],
        "priorityClassName": options.priority_class,
        "schedulerName": options.scheduler,
        "hostNetwork": options.host_network,
        "dnsPolicy": "ClusterFirstWithHostNet" if options.host_network else None,
        "terminationGracePeriodSeconds": options.grace_s + LAST_WORDS_S,
        "containers": [container],
        "volumes": [*_volumes(options, maps)],
    }
    metadata = stated({"labels": _labels(options), "annotations": _annotations(options)})
    return {"metadata": metadata, "spec": stated(spec)}


def job_metadata(options: EksOptions, annotations: Mapping[str, str] = _NOTHING) -> dict[str, Json]:
    """Returns the metadata of a job, with annotations of the operator's own kind.

    Kueue takes the job as a whole, so its labels are not on the pods, which it might take for jobs of their own.
    """
    queue = stated({QUEUE: options.kueue.queue, PRIORITY: options.kueue.priority})
    return stated(
        {
            "name": RUN_ID,
            "labels": {**_labels(options), **queue},
            "annotations": {**_annotations(options), **annotations},
        }
    )


def _labels(options: EksOptions) -> dict[str, Json]:
    return {**options.labels, JOB_LABEL: RUN_ID, "app.kubernetes.io/managed-by": "smtrain"}


def _annotations(options: EksOptions) -> dict[str, Json]:
    own: dict[str, Json] = {PREFERRED: options.kueue.preferred_topology, REQUIRED: options.kueue.required_topology}
    return stated({**options.annotations, **own})


def _node_selector(job: Job, options: EksOptions, nodes: Mapping[str, str]) -> dict[str, Json]:
    own: dict[str, Json] = {
        **nodes,
        INSTANCE_TYPE: machine.label(job),
        DEEP_HEALTH: "Passed" if options.deep_health_checked else None,
    }
    return stated({**own, **options.node_selector})


def _toleration(toleration: Toleration) -> dict[str, Json]:
    return stated(
        {
            "key": toleration.key,
            "operator": "Exists" if toleration.value is None else "Equal",
            "value": toleration.value,
            "effect": toleration.effect,
        }
    )


def _volumes(options: EksOptions, maps: Iterable[ConfigMap]) -> Iterator[Json]:
    yield {"name": layout.FILES, "projected": {"sources": [each.source for each in maps]}}
    if options.scratch.host_path:
        yield {"name": layout.SCRATCH, "hostPath": {"path": options.scratch.host_path, "type": "DirectoryOrCreate"}}
    else:
        yield {"name": layout.SCRATCH, "emptyDir": stated({"sizeLimit": gib(options.scratch.size_gib)})}
    yield {"name": layout.SHM, "emptyDir": stated({"medium": "Memory", "sizeLimit": gib(options.shm_gib)})}
    for name, volume in options.volumes.items():
        yield {"name": name, **_volume(volume)}


def _volume(volume: Volume) -> dict[str, Json]:
    if volume.claim is None:
        return {"hostPath": {"path": volume.host_path}}
    return {"persistentVolumeClaim": stated({"claimName": volume.claim, "readOnly": volume.read_only})}
