"""The section `backend` of `backend=hyperpod_slurm`: everything that a Slurm job can be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

from smtrain.plugin import PositiveInt

Path = Annotated[str, Meta(pattern="^/")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container in which each node runs the program."""

    image: Annotated[
        str,
        Meta(min_length=1, description="What the runtime takes: a .sqsh file, REGISTRY#IMAGE:TAG, or Docker's name."),
    ]
    runtime: Annotated[
        Literal["pyxis", "docker"], Meta(description="srun's own options (pyxis and enroot), or docker run.")
    ] = "pyxis"
    mounts: Annotated[
        tuple[str, ...], Meta(description="/PATH, or /PATH:/THERE, or /PATH:/THERE:ro; shared_dir and scratch_dir are.")
    ] = ()
    options: Annotated[tuple[str, ...], Meta(description="Further words for srun (pyxis) or docker run.")] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Install:
    """What is installed before the first step."""

    mode: Annotated[
        Literal["auto", "never"], Meta(description="auto installs the trainer's packages where they are lacking.")
    ] = "auto"
    where: Annotated[
        Literal["once", "each_node"] | None,
        Meta(description="once for an environment that all nodes share; None takes each_node in containers alone."),
    ] = None
    requirements: Annotated[tuple[str, ...], Meta(description="Further requirements, as pip takes them.")] = ()
    index_url: Annotated[str | None, Meta(description="Package index; None takes pip's own setting.")] = None
    wheels: Annotated[
        str | None, Meta(description="Folder of wheels that travel with the job; nothing else is then asked.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoints:
    """What becomes of checkpoints, where results go to S3; on the shared file system they stay where they are made."""

    upload: Annotated[bool, Meta(description="Upload each as soon as it is whole, and resume from the newest.")] = True
    keep: Annotated[PositiveInt, Meta(description="Whole checkpoints kept in S3; older ones are removed.")] = 2
    interval_s: Annotated[PositiveInt, Meta(description="Seconds between two looks for new ones.")] = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Requeue:
    """When the job goes back into the queue, to go on from its newest checkpoint."""

    on_failed_node: Annotated[bool, Meta(description="When a node fails, or a job of more weight needs it.")] = True
    on_time_limit: Annotated[bool, Meta(description="When the time limit is near, after saving.")] = True
    lead_s: Annotated[
        int, Meta(ge=1, le=65_535, description="Seconds before the time limit at which it begins to save.")
    ] = 300
    most: Annotated[int, Meta(ge=0, description="How often, at most, because of the time limit.")] = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """Whom Slurm tells of what."""

    user: Annotated[str | None, Meta(description="Address, or user; None takes whoever submits.")] = None
    types: Annotated[
        tuple[
            Literal[
                "ALL", "BEGIN", "END", "FAIL", "NONE", "REQUEUE", "STAGE_OUT", "INVALID_DEPEND", "TIME_LIMIT",
                "TIME_LIMIT_50", "TIME_LIMIT_80", "TIME_LIMIT_90",
            ],
            ...,
        ],
        Meta(description="Of what."),
    ] = ()  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class StepJob:
    """A step, and those after it, as a job of their own; what is None is as for the first job."""

    nodes: Annotated[PositiveInt | None, Meta(description="Nodes; a step that runs on every node needs all.")] = None
    partition: Annotated[str | None, Meta(description="Partition.")] = None
    time: Annotated[str | None, Meta(description="Time limit.")] = None
    constraint: Annotated[str | None, Meta(description="Features that the nodes must have.")] = None
    nodelist: Annotated[str | None, Meta(description="Nodes to be among them.")] = None
    exclude: Annotated[str | None, Meta(description="Nodes to do without.")] = None
    cpus_per_task: Annotated[PositiveInt | None, Meta(description="CPUs of each node.")] = None
    mem: Annotated[str | None, Meta(description="Memory of each node.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmOptions:
    """A job of Slurm, on SageMaker HyperPod or any other cluster."""

    shared_dir: Annotated[
        Path,
        Meta(description="Folder that the login node and all nodes share, e.g. /fsx/smtrain; runs are kept there."),
    ]
    login: Annotated[
        str | None,
        Meta(description="Host of your ssh_config from which jobs are submitted; None is this machine itself."),
    ] = None
    hyperpod: Annotated[
        bool, Meta(description="On HyperPod nodes that fail are replaced, and the job goes on: srun --auto-resume=1.")
    ] = True
    region: Annotated[str | None, Meta(description="Region of AWS for S3 and secrets; None takes the nodes' own.")] = (
        None
    )

    partition: Annotated[str | None, Meta(description="Partition; None takes the cluster's default.")] = None
    account: Annotated[str | None, Meta(description="Account that is charged.")] = None
    qos: Annotated[str | None, Meta(description="Quality of service.")] = None
    time: Annotated[
        str | None,
        Meta(
            description='Time limit in quotes: "MINUTES", "HH:MM:SS", "D-HH" or "D-HH:MM:SS"; None: the partition\'s.'
        ),
    ] = None
    exclusive: Annotated[bool, Meta(description="Whole nodes, shared with no other job.")] = True
    constraint: Annotated[str | None, Meta(description="Features that the nodes must have.")] = None
    reservation: Annotated[str | None, Meta(description="Reservation of nodes.")] = None
    nodelist: Annotated[str | None, Meta(description="Nodes to be among them.")] = None
    exclude: Annotated[str | None, Meta(description="Nodes to do without.")] = None
    dependency: Annotated[str | None, Meta(description="E.g. afterok:1234.")] = None
    begin: Annotated[str | None, Meta(description="Not before this time, e.g. now+1hour.")] = None
    gpu_request: Annotated[
        Literal["auto", "gpus-per-node", "gres", "none"],
        Meta(description="How GPUs are asked for; auto asks for none of whole nodes of HyperPod, else gpus-per-node."),
    ] = "auto"
    gpu_type: Annotated[str | None, Meta(description="As the cluster's gres has it, e.g. a100.")] = None
    cpus_per_task: Annotated[PositiveInt | None, Meta(description="CPUs of each node.")] = None
    mem: Annotated[str | None, Meta(description='Memory of each node, e.g. "64G"; "0" is all of it.')] = None
    array: Annotated[bool, Meta(description="The runs of a sweep are one job array, in one place of the queue.")] = (
        False
    )
    array_limit: Annotated[PositiveInt | None, Meta(description="Runs of an array that go at a time; None: all.")] = (
        None
    )
    steps: Annotated[
        Mapping[str, StepJob],
        Meta(description="Steps at which another job begins, once the one before has succeeded (afterok)."),
    ] = field(default_factory=dict)
    mail: Mail = field(default_factory=Mail)
    sbatch: Annotated[
        Mapping[str, str | int | bool], Meta(description="Further options of sbatch: NAME: value, or true for a flag.")
    ] = field(default_factory=dict)

    python: Annotated[
        str | None,
        Meta(description="Interpreter on the nodes; None takes that of venv or conda, otherwise python3."),
    ] = None
    venv: Annotated[
        Path | None, Meta(description="Virtual environment on the shared file system; made if it is not there.")
    ] = None
    conda: Annotated[str | None, Meta(description="Environment of conda, by its name or folder.")] = None
    container: Annotated[Container | None, Meta(description="None runs on the nodes themselves.")] = None
    prologue: Annotated[
        tuple[str, ...], Meta(description="Lines of bash before everything else on each node, e.g. module load cuda.")
    ] = ()
    env_file: Annotated[
        Annotated[str, Meta(pattern="^[/~]")] | None,
        Meta(description="File of NAME=value lines on the cluster, for you alone to read, with secrets: env:NAME."),
    ] = None
    install: Install = field(default_factory=Install)
    source_dir: Annotated[
        str | None,
        Meta(description="Folder of your own code: it travels with the job, .gitignore heeded, and is on PYTHONPATH."),
    ] = None

    scratch_dir: Annotated[Path, Meta(description="Folder on each node's own disk, for what is copied from S3.")] = (
        "/tmp/smtrain"
    )
    grace_s: Annotated[int, Meta(ge=0, description="Seconds a step has to save before it is killed.")] = 120
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    requeue: Requeue = field(default_factory=Requeue)
    usd_per_hour: Annotated[
        Annotated[float, Meta(ge=0)] | None, Meta(description="Your own price of one node; None tells no price.")
    ] = None
