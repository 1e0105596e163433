"""The section `backend` of `backend=trainingjob`: everything that a training job can be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

from smtrain.plugin import PositiveInt

S3Uri = Annotated[str, Meta(pattern=r"^s3://[^\s/]+(/.*)?$(?!\n)")]
InputMode = Literal["File", "FastFile", "Pipe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Framework:
    """Which Deep Learning Container of AWS to run in, where no image is named."""

    name: Annotated[Literal["pytorch", "huggingface"], Meta(description="The container's framework.")] = "pytorch"
    version: Annotated[str | None, Meta(description="Of PyTorch; None takes the newest that is known.")] = None
    transformers: Annotated[str | None, Meta(description="Of transformers, for huggingface.")] = None
    python: Annotated[str | None, Meta(description="As AWS tags it, e.g. py312; None takes what there is.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kms:
    """Keys that encrypt; None leaves it to AWS's own."""

    volume: Annotated[str | None, Meta(description="The storage volumes of the hosts.")] = None
    output: Annotated[str | None, Meta(description="What SageMaker writes to S3.")] = None
    code: Annotated[str | None, Meta(description="What smtrain uploads to S3.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoints:
    """What becomes of checkpoints while the job runs."""

    upload: Annotated[bool, Meta(description="Upload each as soon as it is whole, and resume from the newest.")] = True
    keep: Annotated[PositiveInt, Meta(description="Whole checkpoints kept in S3; older ones are removed.")] = 2
    interval_s: Annotated[PositiveInt, Meta(description="Seconds between two looks for new ones.")] = 15
    uri: Annotated[
        S3Uri | None,
        Meta(description="CheckpointConfig: where SageMaker itself syncs local_path to; None leaves that out."),
    ] = None
    local_path: Annotated[str, Meta(description="CheckpointConfig: the synced folder.")] = "/opt/ml/checkpoints"


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """An input channel from S3, found at /opt/ml/input/data/NAME."""

    uri: S3Uri
    mode: Annotated[InputMode | None, Meta(description="None takes File.")] = None
    distribution: Annotated[
        Literal["FullyReplicated", "ShardedByS3Key"], Meta(description="All of it to each host, or a share.")
    ] = "FullyReplicated"
    type: Annotated[
        Literal["S3Prefix", "ManifestFile", "AugmentedManifestFile"], Meta(description="What the URI names.")
    ] = "S3Prefix"
    content_type: Annotated[str | None, Meta(description="MIME type of the objects.")] = None
    compression: Literal["None", "Gzip"] | None = None
    record_wrapper: Literal["None", "RecordIO"] | None = None
    attributes: Annotated[tuple[str, ...], Meta(description="Of an augmented manifest, in their order.")] = ()
    instance_groups: Annotated[tuple[str, ...], Meta(description="Groups that get it; none named means all.")] = ()
    shuffle_seed: Annotated[Annotated[int, Meta(ge=0)] | None, Meta(description="Shuffles the objects.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSystem:
    """A file system mounted at /opt/ml/input/data/NAME; it needs `subnets` and `security_groups`."""

    id: Annotated[str, Meta(description="fs-…")]
    path: Annotated[str, Meta(pattern="^/", description="Folder of it; for FSx it starts with the mount name.")]
    type: Literal["FSxLustre", "EFS"] = "FSxLustre"
    access: Literal["rw", "ro"] = "ro"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceGroup:
    """One group of a heterogeneous cluster."""

    instance_type: str
    count: PositiveInt = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Install:
    """What is installed on the hosts before the first step."""

    mode: Annotated[
        Literal["auto", "never"], Meta(description="auto installs the trainer's packages if the image lacks them.")
    ] = "auto"
    requirements: Annotated[tuple[str, ...], Meta(description="Further requirements, as pip takes them.")] = ()
    index_url: Annotated[str | None, Meta(description="Package index; None takes the image's own setting.")] = None
    wheels: Annotated[
        str | None, Meta(description="Folder of wheels that travel with the job; nothing else is then asked.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """Where SageMaker Experiments files the job."""

    experiment: str | None = None
    trial: str | None = None
    display_name: str | None = None
    run: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJobOptions:
    """A SageMaker Training Job."""

    role: Annotated[str, Meta(description="ARN of the execution role that the job has.")]
    region: Annotated[
        str,
        Meta(
            pattern=r"^[a-z]{2}(-[a-z]+)+-\d$(?!\n)",
            description="Region of the job, its image and its bucket, e.g. us-east-1.",
        ),
    ]
    image: Annotated[str | None, Meta(description="URI of the image; None looks `framework` up.")] = None
    framework: Framework = field(default_factory=Framework)
    entry: Annotated[
        Literal["own", "toolkit"],
        Meta(description="Started by SageMaker itself (any image), or by the training toolkit inside the image."),
    ] = "own"
    sdk: Annotated[
        Literal["v3", "v2"], Meta(description="The SageMaker SDK that the bundle's estimator.py is written for.")
    ] = "v3"
    python: Annotated[str, Meta(min_length=1, description="Interpreter in the image.")] = "python3"
    volume_gib: Annotated[
        PositiveInt | None,
        Meta(description="Size of each host's volume; None takes 200, or less where the instance's own disk is less."),
    ] = None
    scratch_dir: Annotated[
        str, Meta(pattern="^/", description="Where models and outputs lie on a host, on its largest disk.")
    ] = "/tmp/smtrain"
    max_run_s: Annotated[PositiveInt, Meta(description="Seconds after which SageMaker ends the job.")] = 86_400
    spot: Annotated[bool, Meta(description="Spare capacity: cheaper, and taken away at two minutes' notice.")] = False
    max_wait_s: Annotated[
        PositiveInt | None,
        Meta(description="Seconds, waiting for capacity included; None adds a day to max_run_s for spot."),
    ] = None
    keep_alive_s: Annotated[
        int, Meta(ge=0, description="Warm pool: seconds that the hosts are kept, and paid, for a next job.")
    ] = 0
    retries: Annotated[int, Meta(ge=0, description="Restarts after an internal error of SageMaker.")] = 0
    grace_s: Annotated[
        int, Meta(ge=0, description="Seconds a step has to save after SIGTERM; SageMaker kills after 120.")
    ] = 90
    metrics: Annotated[
        Mapping[str, str], Meta(description="Metric → regular expression over the log, beside the trainer's own.")
    ] = field(default_factory=dict)
    environment: Annotated[
        Mapping[str, str | int],
        Meta(description="Environment of the container; for the workload alone, and without limits, use `env`."),
    ] = field(default_factory=dict)
    hyperparameters: Annotated[
        Mapping[str, str | int | float | bool],
        Meta(description="HyperParameters: shown in the console, found in hyperparameters.json."),
    ] = field(default_factory=dict)
    tags: Annotated[Mapping[str, str | int], Meta(description="Of the job.")] = field(default_factory=dict)
    subnets: Annotated[tuple[str, ...], Meta(description="VPC: where the hosts are.")] = ()
    security_groups: Annotated[tuple[str, ...], Meta(description="VPC: what they may reach.")] = ()
    kms: Kms = field(default_factory=Kms)
    network_isolation: Annotated[bool, Meta(description="No network inside the container, S3 included.")] = False
    encrypt_traffic: Annotated[bool, Meta(description="Between the hosts; slower.")] = False
    store: Annotated[
        S3Uri | None, Meta(description="Where uploaded files are kept by digest; None takes storage.output/store.")
    ] = None
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    channels: Annotated[Mapping[str, Channel], Meta(description="Further input channels.")] = field(
        default_factory=dict
    )
    file_systems: Annotated[Mapping[str, FileSystem], Meta(description="FSx for Lustre and EFS.")] = field(
        default_factory=dict
    )
    inputs: Annotated[
        Mapping[str, Literal["copy", "File", "FastFile"]],
        Meta(description="Input of the program (model, adapter, …) → how it comes from S3; unsaid, s5cmd copies it."),
    ] = field(default_factory=dict)
    instance_groups: Annotated[
        Mapping[str, InstanceGroup], Meta(description="A heterogeneous cluster, in the place of one instance type.")
    ] = field(default_factory=dict)
    remote_debug: Annotated[bool, Meta(description="Allow a shell in the container, through SSM.")] = False
    profiler: Annotated[bool, Meta(description="SageMaker's profiler.")] = False
    experiment: Experiment = field(default_factory=Experiment)
    install: Install = field(default_factory=Install)
    source_dir: Annotated[
        str | None,
        Meta(description="Folder of your own code: it travels with the job, .gitignore heeded, and is on PYTHONPATH."),
    ] = None
    model_dir: Annotated[
        bool, Meta(description="Also leave the model in /opt/ml/model, for SageMaker's model.tar.gz; small ones only.")
    ] = False
    usd_per_hour: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Meta(description="Your own price of one host; None takes the list price."),
    ] = None
