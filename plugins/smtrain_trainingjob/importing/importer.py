"""`smtrain import trainingjob`: a training job that exists becomes an experiment of smtrain.

What a request says about its machines, its inputs and its account is carried over. What it says about the program is
not, since a trainer takes its place; that, and whatever smtrain has no setting for, stands in comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from smtrain.plugin import Json, SmtrainError, instances
from smtrain_trainingjob.importing import experiment_text, imported_inputs, left_over, request_text
from smtrain_trainingjob.importing.experiment_text import Entry, Node, Note, lost, said
from smtrain_trainingjob.importing.request_members import Members

STATE = frozenset(
    {
        "AutoMLJobArn", "BillableTimeInSeconds", "BillableTokenCount", "CreationTime", "DebugRuleEvaluationStatuses",
        "FailureReason", "FinalMetricDataList", "LabelingJobArn", "LastModifiedTime", "MlflowDetails", "ModelArtifacts",
        "OutputModelPackageArn", "ProfilerRuleEvaluationStatuses", "ProfilingStatus", "ProgressInfo",
        "ResponseMetadata", "SecondaryStatus", "SecondaryStatusTransitions", "TrainingEndTime", "TrainingJobArn",
        "TrainingJobStatus", "TrainingStartTime", "TrainingTimeInSeconds", "TuningJobArn", "WarmPoolStatus",
    }
)  # fmt: skip
"""Members that DescribeTrainingJob adds to those of the request: what became of the job."""

_HEAD = """\
# @package _global_
# Imported from {source}, {kind}.
# It does not say what is trained: choose trainer=…, model=…, data=… and, for several GPUs, strategy=…
defaults:
  - override /backend: trainingjob
  - _self_
"""
_TOOLKIT = "It is for the training toolkit, which starts nothing here. Code of your own: backend.source_dir."
_LONGEST_NAME = 40
_SDK_TIME = re.compile(r"-(?:\d{4}(?:-\d\d){5}-\d{3}|\d{14})")
"""What the SageMaker SDK appends to a name to make it unique; smtrain appends a digest."""

_REGION = r"(?P<region>[a-z]{2}(?:-[a-z]+)+-\d)"
_IN_ARN = re.compile(rf"arn:aws[a-z-]*:[a-z0-9-]+:{_REGION}:\d{{12}}:")
_IN_IMAGE = re.compile(rf"\d{{12}}\.dkr[.-]ecr(?:-fips)?\.{_REGION}\.")
_OF_OTHER_REGIONS = ("Environment", "HyperParameters", "Tags", "ModelPackageConfig", "MlflowConfig")


class Importer:
    """Converts CreateTrainingJob requests and answers of DescribeTrainingJob."""

    def convert(self, text: str, *, source: str, root: Path) -> str:
        """Returns an experiment, as YAML.

        Args:
          text: the request or the answer, as JSON or YAML.
          source: its path, for messages.
          root: not needed: a request names nothing of this machine.

        Raises:
          SmtrainError: it is neither, or a member has the wrong type.
        """
        job = Members(values=request_text.read(text, source), source=source)
        described = bool(STATE & job.values.keys())
        region = _region(job.values)
        for name in STATE:
            job.values.pop(name, None)
        sections = [experiment_text.render(nodes) for nodes in _sections(job, region, described=described)]
        if job.faults:
            raise SmtrainError(job.faults)
        kind = "an answer of DescribeTrainingJob" if described else "a CreateTrainingJob request"
        head = _HEAD.format(source=experiment_text.printable(" ".join(source.split())), kind=kind)
        return "\n".join([head, *filter(None, sections)])


def _sections(job: Members, region: str | None, *, described: bool) -> Iterator[list[Node]]:
    """Yields the sections; those of the backend last, and at its end all that nobody took."""
    algorithm, resources, output = (
        job.inner(name) for name in ("AlgorithmSpecification", "ResourceConfig", "OutputDataConfig")
    )
    mode, groups = algorithm.text("TrainingInputMode"), _groups(resources)
    kms = {"volume": resources.text("VolumeKmsKeyId"), "output": output.text("KmsKeyId")}
    yield list(_name(job.text("TrainingJobName")))
    yield [Entry(key="storage", value=(*said("output", output.needed("S3OutputPath")), *left_over.comments(output)))]
    yield [Entry(key="compute", value=tuple(_compute(resources, groups)))]
    backend: tuple[Node, ...] = (
        *said("role", job.needed("RoleArn")),
        *(said("region", region) or (Note(what="Nothing in it says the region: set backend.region."),)),
        *_image(algorithm),
        *_time(job),
        *_machines(resources, groups),
        *_told(job),
        *_recorded(job, described=described),
        *_network(job),
        *said("kms", kms),
        *_checkpoints(job),
        *imported_inputs.nodes(job, mode),
        *_watching(job),
        *(node for members in job.opened for node in left_over.comments(members)),
    )
    yield [Entry(key="backend", value=backend)]


def _region(values: Mapping[str, Json]) -> str | None:
    """Returns the job's region, where something that must be in it names its own."""
    algorithm = values.get("AlgorithmSpecification")
    image = algorithm.get("TrainingImage") if isinstance(algorithm, dict) else None
    texts = {name: list(_texts(value)) for name, value in values.items() if name not in _OF_OTHER_REGIONS}
    own = (_IN_ARN.match(text) for text in texts.get("TrainingJobArn", ()))
    of_image = _IN_IMAGE.match(image) if isinstance(image, str) else None
    others = (_IN_ARN.match(text) for inside in texts.values() for text in inside)
    found = next((match for match in (*own, of_image, *others) if match), None)
    return found["region"] if found else None


def _texts(value: Json) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            yield from (text for item in value.values() for text in _texts(item))
        case list():
            yield from (text for item in value for text in _texts(item))


def _name(given: str | None) -> Iterator[Node]:
    shorter = re.sub(r"[^A-Za-z0-9]+", "-", _SDK_TIME.sub("", given or "")).strip("-")[:_LONGEST_NAME].strip("-")
    if given and given != shorter:
        yield Note(what=f"The job was called {given}; smtrain appends a digest to its own name.")
    if shorter:
        yield from said("name", shorter)


def _groups(resources: Members) -> dict[str, tuple[str, int]]:
    groups = resources.by_name("InstanceGroups", "InstanceGroupName")
    return {name: (group.needed("InstanceType"), group.number("InstanceCount") or 1) for name, group in groups.items()}


def _compute(resources: Members, groups: Mapping[str, tuple[str, int]]) -> Iterator[Node]:
    single, count = resources.text("InstanceType"), resources.number("InstanceCount")
    if not groups:
        yield from said("instance_type", single)
        yield from said("nodes", count)
        return
    yield Entry(key="instance_type", value=single)
    yield from said("nodes", sum(number for _, number in groups.values()))
    machines = [instances.find(name) for name, _ in groups.values()]
    least = min(machine.gpus if machine else 0 for machine in machines)
    yield from said("gpus_per_node", least or None)


def _image(algorithm: Members) -> Iterator[Node]:
    yield from said("image", algorithm.text("TrainingImage"))
    metrics = algorithm.by_name("MetricDefinitions", "Name")
    yield from said("metrics", {name: metric.needed("Regex") for name, metric in metrics.items()})
    yield from left_over.comments(algorithm)


def _time(job: Members) -> Iterator[Node]:
    limits = job.inner("StoppingCondition")
    yield from said("max_run_s", limits.number("MaxRuntimeInSeconds"))
    yield from said("spot", job.flag("EnableManagedSpotTraining"))
    yield from said("max_wait_s", limits.number("MaxWaitTimeInSeconds"))
    yield from left_over.comments(limits)
    yield from said("retries", job.inner("RetryStrategy").number("MaximumRetryAttempts"))


def _machines(resources: Members, groups: Mapping[str, tuple[str, int]]) -> Iterator[Node]:
    size = resources.number("VolumeSizeInGB")
    if size:
        yield from said("volume_gib", size)
    elif size is not None:
        yield lost(f"{resources.path}VolumeSizeInGB", size, "smtrain chooses a size: backend.volume_gib.")
    yield from said("keep_alive_s", resources.number("KeepAlivePeriodInSeconds"))
    kinds: dict[str, Json] = {name: {"instance_type": kind, "count": count} for name, (kind, count) in groups.items()}
    yield from said("instance_groups", kinds)
    yield from left_over.comments(resources)


def _recorded(job: Members, *, described: bool) -> Iterator[Node]:
    """Yields what SageMaker keeps beside the job; its names and texts are the user's own."""
    tags = job.by_name("Tags", "Key")
    yield from said("tags", {name: tag.text("Value") or "" for name, tag in tags.items()})
    if described:
        yield Note(what="Tags it does not tell: `aws sagemaker list-tags --resource-arn …` does; set backend.tags.")
    filed = job.inner("ExperimentConfig")
    names = {
        "experiment": filed.text("ExperimentName"),
        "trial": filed.text("TrialName"),
        "display_name": filed.text("TrialComponentDisplayName"),
        "run": filed.text("RunName"),
    }
    yield from said("experiment", names)


def _told(job: Members) -> Iterator[Node]:
    """Yields what the container is told."""
    environment, hyperparameters = job.pairs("Environment"), job.pairs("HyperParameters")
    own, foreign = _parted(environment, "SMTRAIN_")
    yield from said("environment", own)
    yield from (lost(f"Environment.{name}", value, "smtrain sets its own.") for name, value in foreign.items())
    own, foreign = _parted(hyperparameters, "sagemaker_")
    if own:
        yield Note(what="Recorded with the job, and read by no trainer: what it is to be told goes under trainer.args.")
    yield from said("hyperparameters", own)
    yield from (lost(f"HyperParameters.{name}", value, _TOOLKIT) for name, value in foreign.items())


def _parted(pairs: Mapping[str, str], prefix: str) -> tuple[dict[str, Json], dict[str, Json]]:
    return (
        {name: value for name, value in pairs.items() if not name.startswith(prefix)},
        {name: value for name, value in pairs.items() if name.startswith(prefix)},
    )


def _network(job: Members) -> Iterator[Node]:
    network = job.inner("VpcConfig")
    yield from said("subnets", network.texts("Subnets"))
    yield from said("security_groups", network.texts("SecurityGroupIds"))
    isolated = job.flag("EnableNetworkIsolation")
    yield from said("network_isolation", isolated)
    if isolated:
        yield Note(what="Without a network, the model leaves the hosts through /opt/ml/model alone.")
        yield from said("model_dir", isolated)
    yield from said("encrypt_traffic", job.flag("EnableInterContainerTrafficEncryption"))


def _checkpoints(job: Members) -> Iterator[Node]:
    synced = job.inner("CheckpointConfig")
    uri, folder = synced.text("S3Uri"), synced.text("LocalPath")
    yield from said("checkpoints", {"uri": uri, "local_path": folder})


def _watching(job: Members) -> Iterator[Node]:
    yield from said("remote_debug", job.inner("RemoteDebugConfig").flag("EnableRemoteDebug"))
    profiler = job.inner("ProfilerConfig")
    # SageMaker's own is on unless it is refused.
    yield from said("profiler", not profiler.flag("DisableProfiler"))
    yield from left_over.comments(profiler)
