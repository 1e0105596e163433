"""The one container of a pod: its command, its environment, what it asks of its node, and what is mounted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from smtrain.plugin import RUN_ID, Job, Json
from smtrain_hyperpod.eks import layout, machine
from smtrain_hyperpod.eks.launch import TERMINATION_LOG
from smtrain_hyperpod.eks.options import EksOptions
from smtrain_hyperpod.eks.statements import gib, stated

NAME = "pytorch"
"""Kubeflow's operator knows the container by this name (pkg/webhooks/pytorch)."""

EFA = "vpc.amazonaws.com/efa"
_NOTHING: Mapping[str, str] = {}


def container(
    job: Job,
    options: EksOptions,
    *,
    command: tuple[str, ...],
    ports: Mapping[str, int],
    env: Mapping[str, str] = _NOTHING,
) -> dict[str, Json]:
    """Returns the container.

    Args:
      job: the job.
      options: of the backend.
      command: its words.
      ports: by name.
      env: variables of the operator's own kind.
    """
    return stated(
        {
            "name": NAME,
            "image": options.image,
            "imagePullPolicy": options.pull_policy,
            "command": list(command),
            "env": [*_environment(job, options, env)],
            "ports": [{"name": name, "containerPort": port} for name, port in ports.items()],
            "resources": _resources(job, options),
            "terminationMessagePath": TERMINATION_LOG,
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "volumeMounts": [*_mounts(options)],
        }
    )


def _environment(job: Job, options: EksOptions, env: Mapping[str, str]) -> Iterator[Json]:
    output = (job.run.storage.output or "").rstrip("/")
    plain = {
        **env,
        **({"SMTRAIN_OUTPUT_URI": f"{output}/{RUN_ID}"} if output.startswith("s3://") else {}),
        **({"AWS_REGION": options.region} if options.region else {}),
        **{name: str(value) for name, value in options.environment.items()},
    }
    yield {"name": "SMTRAIN_HOST", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    for name, value in sorted(plain.items()):
        # Kubernetes replaces $(NAME), and reads $$ as one dollar.
        yield {"name": name, "value": value.replace("$", "$$")}
    for name, reference in sorted(options.secrets.items()):
        secret, _, key = reference.partition("/")
        yield {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def _resources(job: Job, options: EksOptions) -> dict[str, Json]:
    # Devices and pages cannot be shared: what is requested is the limit.
    fixed: dict[str, Json] = {
        options.gpu_resource: machine.gpus(job) or None,
        EFA: machine.efa(job, options) or None,
        "hugepages-2Mi": f"{options.hugepages_mib}Mi" if options.hugepages_mib else None,
        "memory": gib(options.memory_gib),
    }
    vcpus = f"{options.vcpus:g}" if options.vcpus else None
    return stated({"requests": stated({"cpu": vcpus, **fixed}), "limits": stated(fixed)})


def _mounts(options: EksOptions) -> Iterator[Json]:
    yield {"name": layout.FILES, "mountPath": layout.BUNDLE, "readOnly": True}
    # A folder of the node is shared by all who name it: each pod has its own in there.
    own: dict[str, Json] = {"subPathExpr": "$(SMTRAIN_HOST)"} if options.scratch.host_path else {}
    yield {"name": layout.SCRATCH, "mountPath": options.scratch.path, **own}
    yield {"name": layout.SHM, "mountPath": "/dev/shm"}
    for name, volume in options.volumes.items():
        mount: dict[str, Json] = {"name": name, "mountPath": volume.path, "subPath": volume.sub_path}
        yield stated({**mount, "readOnly": volume.read_only})
