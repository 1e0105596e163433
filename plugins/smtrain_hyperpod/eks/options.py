"""The section `backend` of `backend=hyperpod_eks`: everything that a job on Kubernetes can be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

from smtrain.plugin import PositiveInt

# The look-ahead shuts out a newline at the end, which `$` lets through in Python.
VariableName = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$(?!\n)")]
S3Uri = Annotated[str, Meta(pattern=r"^s3://[^\s/]+(/.*)?$(?!\n)")]
AbsolutePath = Annotated[str, Meta(pattern="^/")]
Region = Annotated[str, Meta(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$(?!\n)")]
Seconds = Annotated[int, Meta(ge=0)]
SecretKey = Annotated[str, Meta(pattern=r"^[^/\s]+/[^/\s]+$(?!\n)", description="SECRET/KEY.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Toleration:
    """A taint of the nodes that the pods put up with; one that says nothing tolerates every taint."""

    key: Annotated[str | None, Meta(description="Of the taint; None is every key.")] = None
    value: Annotated[str | None, Meta(description="Of the taint; None is every value.")] = None
    effect: Annotated[
        Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None, Meta(description="None is every effect.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kueue:
    """How Kueue, or HyperPod's task governance on top of it, queues and places the job."""

    queue: Annotated[str | None, Meta(description="LocalQueue, such as hyperpod-ns-TEAM-localqueue.")] = None
    priority: Annotated[str | None, Meta(description="WorkloadPriorityClass, such as training-priority.")] = None
    preferred_topology: Annotated[
        str | None, Meta(description="Node label whose value the pods share if they can: near one another.")
    ] = None
    required_topology: Annotated[
        str | None, Meta(description="Node label whose value the pods must share; they wait until they can.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A file system in the pods: a claim (FSx for Lustre, EFS, …), or a folder of the node."""

    path: Annotated[AbsolutePath, Meta(description="Where it is found in the container.")]
    claim: Annotated[str | None, Meta(description="PersistentVolumeClaim in the job's namespace.")] = None
    host_path: Annotated[AbsolutePath | None, Meta(description="Folder of the node.")] = None
    sub_path: Annotated[str | None, Meta(description="Folder of it to be mounted in place of all of it.")] = None
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Scratch:
    """Where staged models and outputs lie in a pod while it runs."""

    path: Annotated[AbsolutePath, Meta(description="In the container.")] = "/scratch"
    host_path: Annotated[
        AbsolutePath | None,
        Meta(description="Folder of the node, on its NVMe disks, such as /opt/dlami/nvme; None takes an emptyDir."),
    ] = None
    size_gib: Annotated[
        PositiveInt | None, Meta(description="Of an emptyDir: a pod that writes more is evicted; None is no limit.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarts:
    """What the operator does when a node or a process fails; training goes on from the newest checkpoint."""

    max: Annotated[int, Meta(ge=0, description="How often, before the job has failed.")] = 0
    policy: Annotated[
        Literal["Never", "OnFailure", "Always", "ExitCode"] | None,
        Meta(description="Of the pods, with operator=kubeflow; None takes OnFailure where `max` allows any, or Never."),
    ] = None
    before_full: Annotated[
        PositiveInt | None,
        Meta(description="With operator=hyperpod: restarts of the processes before the pods are made anew."),
    ] = None
    max_full: Annotated[
        int | None, Meta(description="With operator=hyperpod: how often the pods are made anew before the job fails.")
    ] = None
    period_s: Annotated[PositiveInt, Meta(description="With operator=hyperpod: over which restarts are counted.")] = (
        21_600
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Elastic:
    """Between how many nodes the job may grow and shrink, with operator=hyperpod; it starts with compute.nodes."""

    min_nodes: PositiveInt
    max_nodes: PositiveInt
    step: Annotated[PositiveInt | None, Meta(description="Nodes added or taken away at a time.")] = None
    values: Annotated[
        tuple[PositiveInt, ...], Meta(description="The numbers of nodes allowed, in place of a step.")
    ] = ()
    scaling_timeout_s: Annotated[PositiveInt | None, Meta(description="Seconds that scaling may take.")] = None
    shutdown_timeout_s: Annotated[PositiveInt | None, Meta(description="Seconds that the pods have to save.")] = None
    snooze_s: Annotated[PositiveInt | None, Meta(description="Seconds after a restart without growing.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRule:
    """A rule over the log by which HyperPod's operator finds a job that hangs or crawls, and restarts it."""

    pattern: Annotated[str, Meta(description="Regular expression; its group, if it has one, is a number.")]
    first_within_s: Annotated[PositiveInt | None, Meta(description="Seconds until the first line that matches.")] = None
    every_s: Annotated[PositiveInt | None, Meta(description="Seconds between two lines that match.")] = None
    threshold: Annotated[int | None, Meta(description="For the number.")] = None
    operator: Annotated[
        Literal["gt", "gteq", "lt", "lteq", "eq"] | None, Meta(description="Number OPERATOR threshold is bad.")
    ] = None
    times: Annotated[PositiveInt | None, Meta(description="How often in a row it must be bad.")] = None
    until: Annotated[str | None, Meta(description="Regular expression of the line that ends the rule.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Install:
    """What is installed in the pods before the first step."""

    mode: Annotated[
        Literal["auto", "never"], Meta(description="auto installs the trainer's packages if the image lacks them.")
    ] = "auto"
    index_url: Annotated[str | None, Meta(description="Package index; None takes the image's own setting.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoints:
    """What becomes of checkpoints while the job runs, where results go to S3."""

    upload: Annotated[bool, Meta(description="Upload each as soon as it is whole, and resume from the newest.")] = True
    keep: Annotated[PositiveInt, Meta(description="Whole checkpoints kept in S3; older ones are removed.")] = 2
    interval_s: Annotated[PositiveInt, Meta(description="Seconds between two looks for new ones.")] = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class EksOptions:
    """A job on Kubernetes: SageMaker HyperPod under EKS, or any cluster with Kubeflow's training operator."""

    image: Annotated[str, Meta(description="Image of the pods, with tag or digest.")]
    operator: Annotated[
        Literal["hyperpod", "kubeflow"],
        Meta(description="Who runs the job: HyperPodPyTorchJob, or PyTorchJob of Kubeflow's training operator v1."),
    ] = "hyperpod"
    hyperpod: Annotated[bool, Meta(description="The nodes are HyperPod's; false is any other Kubernetes.")] = True
    context: Annotated[str | None, Meta(description="Context of kubectl's configuration; None takes the current.")] = (
        None
    )
    namespace: Annotated[str | None, Meta(description="None takes the context's.")] = None
    region: Annotated[Region | None, Meta(description="Of the buckets; None takes the account's default.")] = None
    pull_policy: Annotated[
        Literal["Always", "IfNotPresent", "Never"] | None, Meta(description="None leaves it to Kubernetes.")
    ] = None
    pull_secrets: Annotated[tuple[str, ...], Meta(description="Secrets with the registry's credentials.")] = ()
    service_account: Annotated[
        str | None, Meta(description="Of the pods; it carries the role that reads and writes S3. None is `default`.")
    ] = None
    python: Annotated[str, Meta(min_length=1, description="Interpreter in the image.")] = "python3"
    install: Install = field(default_factory=Install)
    source_dir: Annotated[
        str | None,
        Meta(description="Folder of your own code: it travels with the job, .gitignore heeded, and is on PYTHONPATH."),
    ] = None

    vcpus: Annotated[
        Annotated[float, Meta(gt=0)] | None, Meta(description="Of each pod, requested; None asks for no amount.")
    ] = None
    memory_gib: Annotated[PositiveInt | None, Meta(description="Of each pod; None asks for no amount.")] = None
    hugepages_mib: Annotated[
        PositiveInt | None, Meta(description="In pages of 2 MiB, which EFA can make use of: 5120 in AWS's examples.")
    ] = None
    efa: Annotated[
        int | None, Meta(description="EFA devices of each pod; None takes all of the type for several nodes, or none.")
    ] = None
    gpu_resource: Annotated[str, Meta(description="What the device plugin calls a GPU.")] = "nvidia.com/gpu"
    node_selector: Annotated[Mapping[str, str], Meta(description="Labels that the nodes have.")] = field(
        default_factory=dict
    )
    tolerations: tuple[Toleration, ...] = ()
    deep_health_checked: Annotated[bool, Meta(description="Only nodes that passed HyperPod's deep health checks.")] = (
        False
    )
    host_network: Annotated[bool, Meta(description="The node's own network in the pods.")] = False
    priority_class: Annotated[str | None, Meta(description="PriorityClass of the pods.")] = None
    scheduler: Annotated[str | None, Meta(description="Scheduler of the pods; None is the cluster's own.")] = None
    kueue: Kueue = field(default_factory=Kueue)
    labels: Annotated[Mapping[str, str], Meta(description="Of the job and its pods.")] = field(default_factory=dict)
    annotations: Annotated[Mapping[str, str], Meta(description="Of the job and its pods.")] = field(
        default_factory=dict
    )

    volumes: Annotated[Mapping[str, Volume], Meta(description="File systems, by a name of your own.")] = field(
        default_factory=dict
    )
    scratch: Scratch = field(default_factory=Scratch)
    shm_gib: Annotated[
        PositiveInt | None, Meta(description="Size of /dev/shm, which is memory; None is half of the pod's.")
    ] = None
    environment: Annotated[
        Mapping[VariableName, str | int], Meta(description="Environment of the container; for the workload: `env`.")
    ] = field(default_factory=dict)
    secrets: Annotated[
        Mapping[VariableName, SecretKey],
        Meta(description="Variable → SECRET/KEY of a Kubernetes Secret, taken by secretKeyRef."),
    ] = field(default_factory=dict)
    store: Annotated[
        S3Uri | None,
        Meta(description="Where rows and code are kept by digest; None takes storage.output/store if that is in S3."),
    ] = None
    checkpoints: Checkpoints = field(default_factory=Checkpoints)

    restarts: Restarts = field(default_factory=Restarts)
    spares: Annotated[int, Meta(ge=0, description="Further nodes that Kueue reserves, with operator=hyperpod.")] = 0
    elastic: Annotated[Elastic | None, Meta(description="None keeps the number of nodes.")] = None
    log_rules: Annotated[Mapping[str, LogRule], Meta(description="By name, with operator=hyperpod.")] = field(
        default_factory=dict
    )
    max_run_s: Annotated[PositiveInt | None, Meta(description="Seconds after which the operator ends the job.")] = None
    grace_s: Annotated[Seconds, Meta(description="Seconds a step has to save after SIGTERM.")] = 90
    keep_pods: Annotated[bool, Meta(description="Keep ended pods, and with them their logs, as long as the job.")] = (
        True
    )
    keep_s: Annotated[
        PositiveInt | None, Meta(description="Seconds after which an ended job is removed; None keeps it.")
    ] = 604_800
    usd_per_hour: Annotated[
        Annotated[float, Meta(ge=0)] | None, Meta(description="Your own price of one node; None takes the list price.")
    ] = None
