"""The section `cluster`: everything that a HyperPod cluster can be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

from smtrain.plugin import PositiveInt

S3Uri = Annotated[str, Meta(pattern=r"^s3://[^\s/]+(/.*)?$(?!\n)")]
HomePath = Annotated[str, Meta(pattern=r"^/[^,\s]*$(?!\n)")]
Count = Annotated[int, Meta(ge=0)]
NodeKind = Literal["controller", "login", "compute"]
HealthCheck = Literal["InstanceStress", "InstanceConnectivity", "MultiNodeTrainingValidation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lustre:
    """A file system of FSx for Lustre, mounted on every node."""

    dns_name: Annotated[str, Meta(description="fs-….fsx.REGION.amazonaws.com")]
    mount_name: Annotated[str, Meta(description="Its mount name, e.g. abcdefgh.")]
    mount_path: Annotated[
        str, Meta(pattern="^/", description="Where nodes have it; AWS's base configuration mounts it at /fsx.")
    ] = "/fsx"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenZfs:
    """A file system of FSx for OpenZFS, mounted on every node."""

    dns_name: Annotated[str, Meta(description="fs-….fsx.REGION.amazonaws.com")]
    mount_path: Annotated[
        str, Meta(pattern="^/", description="Where nodes have it; AWS's base configuration mounts it at /home.")
    ] = "/home"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fsx:
    """File systems that the nodes share; they need `vpc`."""

    lustre: Lustre | None = None
    openzfs: OpenZfs | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Vpc:
    """Where the nodes are, and what they may reach."""

    subnets: Annotated[
        tuple[str, ...], Meta(description="Private ones, in the Availability Zone of the capacity.")
    ] = ()
    security_groups: Annotated[
        tuple[str, ...], Meta(description="With EFA they allow all traffic among themselves.")
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiHead:
    """What several controller nodes share, so that one can take over from another."""

    database_secret_arn: Annotated[str, Meta(description="Secret of the accounting database's credentials.")]
    database_endpoint: Annotated[str, Meta(description="Address of the accounting database.")]
    database_user: Annotated[str, Meta(description="Its user.")] = "admin"
    shared_directory: Annotated[str, Meta(pattern="^/", description="On FSx for Lustre, for the state.")] = "/fsx"
    sns_topic_arn: Annotated[str | None, Meta(description="Told when a controller takes over.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Slurm:
    """How Slurm comes to know its nodes."""

    topology: Annotated[
        Literal["file", "api"],
        Meta(
            description="file: provisioning_parameters.json, which AWS's base configuration reads; "
            "api: in the request itself, for images of 2026-01 and newer."
        ),
    ] = "file"
    strategy: Annotated[
        Literal["merge", "managed", "overwrite"] | None,
        Meta(description="With api: what becomes of edits of slurm.conf; None leaves it to HyperPod, which merges."),
    ] = None
    multi_head: Annotated[MultiHead | None, Meta(description="For a controller group of several nodes.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Eks:
    """The Kubernetes cluster that orchestrates."""

    cluster_arn: Annotated[str | None, Meta(description="ARN of an EKS cluster that is there.")] = None
    autoscaling_role: Annotated[
        str | None, Meta(description="Scales the groups with Karpenter, as this role; None does not scale.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """Scripts that each node runs when it is made."""

    store: Annotated[
        S3Uri | None,
        Meta(description="Where they are uploaded to: s3://sagemaker-…/PREFIX, which AWS's policy lets nodes read."),
    ] = None
    base: Annotated[
        str | None,
        Meta(
            description="Folder of AWS's base configuration: …/LifecycleScripts/base-config of awsome-distributed-ai."
        ),
    ] = None
    overlay: Annotated[str | None, Meta(description="Folder of your own scripts, laid over the base.")] = None
    on_create: Annotated[str, Meta(min_length=1, description="The script that runs on a new node.")] = "on_create.sh"


@dataclass(frozen=True, slots=True, kw_only=True)
class Taint:
    """Keeps pods away that do not tolerate it."""

    key: str
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]
    value: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Instances of one kind."""

    instance_type: Annotated[str | None, Meta(description="E.g. ml.p5.48xlarge.")] = None
    instance_types: Annotated[
        tuple[str, ...], Meta(description="In the place of one: several, the first that there is capacity of.")
    ] = ()
    count: Annotated[Count, Meta(description="Instances.")] = 1
    min_count: Annotated[
        Count | None, Meta(description="With continuous provisioning: instances without which the group is not ready.")
    ] = None
    kind: Annotated[NodeKind, Meta(description="What Slurm does with its nodes.")] = "compute"
    partition: Annotated[
        str | None, Meta(description="Slurm's partition of a compute group; None takes dev, as AWS does.")
    ] = None
    role: Annotated[str | None, Meta(description="Execution role; None takes cluster.role.")] = None
    threads_per_core: Annotated[
        Literal[1, 2] | None, Meta(description="1 switches hyper-threading off; None leaves it to HyperPod.")
    ] = None
    volume_gib: Annotated[
        PositiveInt | None, Meta(description="A volume of each instance, at /opt/sagemaker; None attaches none.")
    ] = None
    volume_kms_key: Annotated[str | None, Meta(description="Key of that volume.")] = None
    root_kms_key: Annotated[str | None, Meta(description="Key of the root volume.")] = None
    training_plan: Annotated[str | None, Meta(description="ARN of the training plan with the reserved capacity.")] = (
        None
    )
    spot: Annotated[bool, Meta(description="Spare capacity: cheaper, and taken away.")] = False
    deep_health_checks: Annotated[tuple[HealthCheck, ...], Meta(description="Made before a node is used.")] = ()
    vpc: Annotated[Vpc | None, Meta(description="Another Availability Zone than that of cluster.vpc.")] = None
    image: Annotated[str | None, Meta(description="An AMI of your own; None takes HyperPod's.")] = None
    image_release: Annotated[str | None, Meta(description="Release of HyperPod's image, e.g. 1.2.3.")] = None
    update_schedule: Annotated[str | None, Meta(description="When images are updated, as cron(…).")] = None
    network_interface: Annotated[Literal["efa", "efa-only"] | None, Meta(description="None leaves it to HyperPod.")] = (
        None
    )
    labels: Annotated[Mapping[str, str], Meta(description="Of Kubernetes nodes.")] = field(default_factory=dict)
    taints: Annotated[tuple[Taint, ...], Meta(description="Of Kubernetes nodes.")] = ()
    usd_per_hour: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Meta(description="Your own price of one instance; None takes the list price."),
    ] = None
    request: Annotated[
        Mapping[str, object], Meta(description="Further members of the group, as the API spells them.")
    ] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Somebody with an account on every node."""

    uid: Annotated[int, Meta(ge=0, description="The same on every node, e.g. 2001.")]
    home: Annotated[HomePath | None, Meta(description="None puts it on the shared file system, else under /home.")] = (
        None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A bucket of S3 that every node has as a folder, through Mountpoint for Amazon S3."""

    uri: S3Uri
    path: Annotated[str, Meta(pattern=r"^/[^\s]*$(?!\n)", description="Of the folder, e.g. /mnt/data.")]
    writable: Annotated[bool, Meta(description="Also write new objects and delete old ones.")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """A SageMaker HyperPod cluster."""

    name: Annotated[str, Meta(description="Of the cluster, one in its account and region.")]
    region: Annotated[
        str, Meta(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$(?!\n)", description="Of the cluster, e.g. us-west-2.")
    ]
    role: Annotated[
        str, Meta(description="ARN of the role that instances have; it needs AmazonSageMakerClusterInstanceRolePolicy.")
    ]
    groups: Annotated[Mapping[str, Group], Meta(description="Name → instances of one kind.")] = field(
        default_factory=dict
    )
    orchestrator: Annotated[Literal["slurm", "eks"], Meta(description="What schedules the work.")] = "slurm"
    slurm: Slurm = field(default_factory=Slurm)
    eks: Eks = field(default_factory=Eks)
    vpc: Vpc = field(default_factory=Vpc)
    fsx: Fsx = field(default_factory=Fsx)
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    users: Annotated[Mapping[str, User], Meta(description="Accounts on every node, for shared_users.txt.")] = field(
        default_factory=dict
    )
    mounts: Annotated[Mapping[str, Mount], Meta(description="Name → bucket as a folder of every node.")] = field(
        default_factory=dict
    )
    node_recovery: Annotated[
        Literal["automatic", "none"], Meta(description="Whether faulty nodes are rebooted or replaced by themselves.")
    ] = "automatic"
    continuous: Annotated[
        bool, Meta(description="Ready with what capacity there is, the rest follows; otherwise all instances or none.")
    ] = False
    tiered_storage_percent: Annotated[
        Annotated[int, Meta(ge=0, le=100)] | None,
        Meta(description="Share of the nodes' memory that keeps checkpoints (EKS); None keeps none there."),
    ] = None
    tags: Annotated[Mapping[str, str | int], Meta(description="Of the cluster.")] = field(default_factory=dict)
    request: Annotated[
        Mapping[str, object], Meta(description="Further members of CreateCluster, as the API spells them.")
    ] = field(default_factory=dict)
