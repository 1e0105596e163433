"""The typed sections of a run that belong to no plugin.

Each field's description, bounds and choices stand in its annotation; the JSON Schema, the reference page, `explain` and
the validation all come from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

PositiveInt = Annotated[int, Meta(ge=1)]
# The look-ahead shuts out a newline at the end, which `$` lets through in Python; \Z would mean a Z to an editor.
VariableName = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$(?!\n)")]

SecretReference = Annotated[
    str,
    Meta(
        # Characters of a secret's name or ARN: secretsmanager/latest/apireference/API_CreateSecret; of a parameter's
        # name: systems-manager/latest/userguide/sysman-paramstore-su-create.
        pattern=r"^(env:[A-Za-z_][A-Za-z0-9_]*|secretsmanager:[A-Za-z0-9/_+=.@!:-]+(#[^\s#]+)?|ssm:/[A-Za-z0-9/_.-]+)$(?!\n)",
        description="env:NAME for an environment variable of the target, secretsmanager:ID or ARN for a secret of AWS "
        "Secrets Manager (with #KEY for one key of a JSON secret), ssm:/NAME for a parameter of AWS Systems Manager.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The model to train."""

    path: Annotated[
        str,
        Meta(
            min_length=1,
            description="A Hugging Face repository (ORG/NAME), a folder of this machine, an s3:// URI, "
            "or target:/PATH for a folder that the target already has.",
        ),
    ]
    revision: Annotated[str | None, Meta(description="Branch, tag or commit of a hub repository.")] = None
    template: Annotated[
        str | None,
        Meta(description="Name of the chat template, for trainers with a registry of them (LLaMA-Factory)."),
    ] = None
    adapter: Annotated[
        str | None,
        Meta(
            description="An adapter to start from, or to merge: a folder, a repository, an s3:// URI or target:/PATH."
        ),
    ] = None
    trust_remote_code: Annotated[bool, Meta(description="Run the Python code that comes with the model.")] = False


Format = Literal["alpaca", "sharegpt", "openai", "text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Which column of the rows plays which role; a role left out has the format's default."""

    prompt_id: str | None = None
    prompt: str | None = None
    query: str | None = None
    response: str | None = None
    history: str | None = None
    messages: str | None = None
    system: str | None = None
    tools: str | None = None
    images: str | None = None
    videos: str | None = None
    audios: str | None = None
    chosen: str | None = None
    rejected: str | None = None
    kto_tag: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tags:
    """The names used inside chat messages; one left out has the format's default."""

    role_tag: str | None = None
    content_tag: str | None = None
    user_tag: str | None = None
    assistant_tag: str | None = None
    observation_tag: str | None = None
    function_tag: str | None = None
    system_tag: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSource:
    """One data set of several; what it leaves out it takes from the `data` section itself."""

    path: Annotated[
        str,
        Meta(
            min_length=1,
            description="A file or folder of rows (json, jsonl, csv, parquet, arrow, txt, pt; also .gz), an s3:// URI, "
            "hub:ORG/NAME for a data set of the Hugging Face hub, or target:/PATH for rows that are on the target.",
        ),
    ]
    role: Annotated[Literal["train", "eval"], Meta(description="What the rows are for.")] = "train"
    format: Annotated[Format | None, Meta(description="Shape of a row; None takes the section's.")] = None
    ranking: Annotated[bool | None, Meta(description="Rows carry chosen and rejected.")] = None
    columns: Columns | None = None
    tags: Tags | None = None
    subset: Annotated[str | None, Meta(description="Name of the subset, of a hub data set.")] = None
    split: Annotated[str | None, Meta(description="Name of the split, of a hub data set.")] = None
    folder: Annotated[str | None, Meta(description="Folder inside the repository, of a hub data set.")] = None
    num_samples: Annotated[PositiveInt | None, Meta(description="Draw this many rows.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """The rows to train and evaluate on.

    Either one data set (`path`, and `eval_path` beside it), or several (`sets`), or those of an existing
    dataset_info.json (`dataset_info` with `names`).
    """

    path: Annotated[
        str | None,
        Meta(
            description="Rows to train on: a file or folder (json, jsonl, csv, parquet, arrow, txt, pt; also .gz), an "
            "s3:// URI, hub:ORG/NAME, or target:/PATH for rows that the target already has."
        ),
    ] = None
    eval_path: Annotated[str | None, Meta(description="Rows to evaluate on, of the same shape as `path`.")] = None
    format: Annotated[Format, Meta(description="Shape of a row.")] = "alpaca"
    ranking: Annotated[bool, Meta(description="Rows carry a chosen and a rejected response.")] = False
    columns: Columns = field(default_factory=Columns)
    tags: Tags = field(default_factory=Tags)
    subset: Annotated[str | None, Meta(description="Name of the subset, of a hub data set.")] = None
    split: Annotated[str | None, Meta(description="Name of the split, of a hub data set.")] = None
    folder: Annotated[str | None, Meta(description="Folder inside the repository, of a hub data set.")] = None
    num_samples: Annotated[PositiveInt | None, Meta(description="Draw this many rows.")] = None
    sets: Annotated[Mapping[str, DataSource], Meta(description="Several data sets, by name.")] = field(
        default_factory=dict
    )
    dataset_info: Annotated[
        str | None,
        Meta(
            description="An existing dataset_info.json to use as it is: a file, or LLaMA-Factory's "
            "REMOTE:ORG/NAME or ONLINE."
        ),
    ] = None
    names: Annotated[tuple[str, ...], Meta(description="Data sets of `dataset_info` to train on.")] = ()
    eval_names: Annotated[tuple[str, ...], Meta(description="Data sets of `dataset_info` to evaluate on.")] = ()
    check: Annotated[
        Literal["first", "all", "none"],
        Meta(description="Rows of local files looked at before launch: the first thousand of each, all, or none."),
    ] = "first"


StrategyKind = Literal["single", "ddp", "zero1", "zero2", "zero2_offload", "zero3", "zero3_offload", "fsdp"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """How the training is spread over the processes."""

    kind: Annotated[StrategyKind, Meta(description="The parallelism.")] = "single"
    document: Annotated[
        str | None,
        Meta(description="Your own DeepSpeed JSON, or accelerate YAML; it is checked and used as it is."),
    ] = None
    overrides: Annotated[
        Mapping[str, object],
        Meta(description="Laid over the document that smtrain writes, e.g. zero_optimization.reduce_bucket_size."),
    ] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """What starts the processes of a node."""

    kind: Annotated[Literal["torchrun", "accelerate", "deepspeed"], Meta(description="The launcher.")] = "torchrun"
    max_restarts: Annotated[int, Meta(ge=0, description="Restarts of a failed worker group (torchrun).")] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """The machines."""

    nodes: Annotated[PositiveInt, Meta(description="Hosts.")] = 1
    gpus_per_node: Annotated[
        PositiveInt | None, Meta(description="GPUs of each host to train on, one worker process on each.")
    ] = None
    processes_per_node: Annotated[
        PositiveInt | None,
        Meta(description="Worker processes on each host; None takes gpus_per_node, or one."),
    ] = None
    accelerator: Annotated[
        Literal["auto", "gpu", "cpu"],
        Meta(description="What the processes compute on; auto takes a GPU where the target has one."),
    ] = "auto"
    instance_type: Annotated[str | None, Meta(description="Instance type, for targets that have such.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """Where results are kept."""

    output: Annotated[
        str | None,
        Meta(description="Folder or s3:// URI that receives the results; None keeps them in the run's own folder."),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The keys at the root of a run that are no section."""

    name: Annotated[
        str,
        Meta(
            pattern=r"^[a-zA-Z0-9](-?[a-zA-Z0-9])*$(?!\n)",
            max_length=40,
            description="The readable half of the run's identity: letters, digits and single dashes.",
        ),
    ] = "smtrain"
    global_batch_size: Annotated[
        PositiveInt | None, Meta(description="Samples per optimizer step, over all processes.")
    ] = None
    micro_batch_size: Annotated[PositiveInt | None, Meta(description="Samples per process and forward pass.")] = None
    gradient_accumulation_steps: Annotated[
        PositiveInt | None, Meta(description="Forward passes per optimizer step.")
    ] = None
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1, description="Seed of everything random.")] = 42
    env: Annotated[
        Mapping[VariableName, str | int],
        Meta(description="Environment variables of the workload: text, or whole numbers."),
    ] = field(default_factory=dict)
    secrets: Annotated[
        Mapping[VariableName, SecretReference],
        Meta(description="Environment variables whose value is a secret: NAME → where the target finds it."),
    ] = field(default_factory=dict)
    vars: Annotated[
        Mapping[str, object], Meta(description="Names of your own, for interpolations: ${vars.anything}.")
    ] = field(default_factory=dict)
    attempt: Annotated[PositiveInt, Meta(description="2, 3, … asks for another run of the same bundle.")] = 1
    resume: Annotated[
        Literal["auto", "never"],
        Meta(description="auto goes on from the newest complete checkpoint of this run, never starts afresh."),
    ] = "auto"
    runs_dir: Annotated[str, Meta(min_length=1, description="Folder that holds the runs.")] = "runs"
    objective: Annotated[
        str | None, Meta(description="Metric whose last value a run returns to an optimising sweeper.")
    ] = None
