"""`estimator.py` for the SageMaker Python SDK 3: a CreateTrainingJob request as the ModelTrainer call that makes it.

ModelTrainer has no argument for the job's exact name, for an entry point of one's own, for experiments and for the
profiler, and it drops what is empty or zero. The script adds those with a handler of boto3's event system, which is
documented for it (boto3.amazonaws.com/v1/documentation/api/latest/guide/events.html), rather than by overriding methods
that are private to the SDK.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from smtrain.plugin import Json
from smtrain_trainingjob.estimator import parts
from smtrain_trainingjob.estimator.python_source import Call, Source, Verbatim, statement

REQUIREMENT = "sagemaker>=3.27,<4"
"""The version that the tests send requests with, and later ones; the SDK moved its modules about before."""

_COMMENT = """\
What ModelTrainer has no argument for. An entry point, for one, it sends only for code
of its own staging, and then its own one."""

_NAME = '''\
def name_job(params, **_):
    """Gives the job its own name; ModelTrainer's ends in the time."""
    params["TrainingJobName"] = JOB_NAME'''

_LOGGING = """\
# The SDK shows the job's log by way of logging, and leaves it to its user to show that.
logging.basicConfig(format="%(message)s")
logging.getLogger("sagemaker").setLevel(logging.INFO)"""

_ROLE = """\
# The SDK would refuse a role that lacks any permission of its own list, those of a VPC
# included. What this job needs SageMaker looks at itself.
os.environ.setdefault("SAGEMAKER_VALIDATE_ROLE", "false")"""

_EVENTS = """\
# boto3's own way to complete a request: its guide "Extensibility".
boto_session = boto3.Session()
register = boto_session.events.register
register("provide-client-params.sagemaker.CreateTrainingJob", name_job)
register("provide-client-params.sagemaker.DescribeTrainingJob", name_job)"""

_COMPLETE = 'register("provide-client-params.sagemaker.CreateTrainingJob", complete)'

_CLASSES: Mapping[str, tuple[str, ...]] = {
    "Channel": (
        "ChannelName",
        "DataSource",
        "ContentType",
        "CompressionType",
        "RecordWrapperType",
        "InputMode",
        "ShuffleConfig",
    ),
    "CheckpointConfig": ("S3Uri", "LocalPath"),
    "Compute": (
        "InstanceType",
        "InstanceCount",
        "InstanceGroups",
        "VolumeSizeInGB",
        "VolumeKmsKeyId",
        "KeepAlivePeriodInSeconds",
        "TrainingPlanArn",
        "EnableManagedSpotTraining",
    ),
    "DataSource": ("S3DataSource", "FileSystemDataSource"),
    "FileSystemDataSource": ("FileSystemId", "FileSystemType", "DirectoryPath", "FileSystemAccessMode"),
    "InfraCheckConfig": ("EnableInfraCheck",),
    "InstanceGroup": ("InstanceGroupName", "InstanceType", "InstanceCount"),
    "MetricDefinition": ("Name", "Regex"),
    "Networking": (
        "Subnets",
        "SecurityGroupIds",
        "EnableNetworkIsolation",
        "EnableInterContainerTrafficEncryption",
    ),
    "OutputDataConfig": ("S3OutputPath", "KmsKeyId", "CompressionType"),
    "RemoteDebugConfig": ("EnableRemoteDebug",),
    "RetryStrategy": ("MaximumRetryAttempts",),
    "S3DataSource": ("S3DataType", "S3Uri", "S3DataDistributionType", "AttributeNames", "InstanceGroupNames"),
    "SessionChainingConfig": ("EnableSessionTagChaining",),
    "ShuffleConfig": ("Seed",),
    "StoppingCondition": ("MaxRuntimeInSeconds", "MaxWaitTimeInSeconds", "MaxPendingTimeInSeconds"),
    "Tag": ("Key", "Value"),
    "TensorBoardOutputConfig": ("S3OutputPath", "LocalPath"),
    "TrainingImageConfig": ("TrainingRepositoryAccessMode", "TrainingRepositoryAuthConfig"),
    "TrainingRepositoryAuthConfig": ("TrainingRepositoryCredentialsProviderArn",),
}
"""Classes of sagemaker.core.training.configs, and the members, as the API spells them, that the script sets."""

_CLASS_OF: Mapping[str, str] = {
    "InputDataConfig": "Channel",
    "InstanceGroups": "InstanceGroup",
    "MetricDefinitions": "MetricDefinition",
    "ResourceConfig": "Compute",
    "Tags": "Tag",
    "VpcConfig": "Networking",
}
"""Member → class of its value or of its items, where it is not the member's own name."""

_DEFAULTED = ("LocalPath",)
"""Members that the SDK fills in by itself; None takes that away."""

_FLAGS: Mapping[str, str] = {
    "EnableManagedSpotTraining": "ResourceConfig",
    "EnableNetworkIsolation": "VpcConfig",
    "EnableInterContainerTrafficEncryption": "VpcConfig",
}
"""Members of the request that are the SDK's members of another one."""

_ARGUMENTS: Mapping[str, str] = {
    "TrainingImage": "training_image",
    "AlgorithmName": "algorithm_name",
    "TrainingImageConfig": "training_image_config",
    "RoleArn": "role",
    "ResourceConfig": "compute",
    "StoppingCondition": "stopping_condition",
    "VpcConfig": "networking",
    "TrainingInputMode": "training_input_mode",
    "InputDataConfig": "input_data_config",
    "OutputDataConfig": "output_data_config",
    "CheckpointConfig": "checkpoint_config",
    "HyperParameters": "hyperparameters",
    "Environment": "environment",
    "Tags": "tags",
}
"""Member → argument of ModelTrainer, in the order in which they are written."""

_METHODS: Mapping[str, str] = {
    "MetricDefinitions": "with_metric_definitions",
    "RetryStrategy": "with_retry_strategy",
    "RemoteDebugConfig": "with_remote_debug_config",
    "InfraCheckConfig": "with_infra_check_config",
    "SessionChainingConfig": "with_session_chaining_config",
    "TensorBoardOutputConfig": "with_tensorboard_output_config",
}
"""Member → method of ModelTrainer that takes it."""

_ALGORITHM = "AlgorithmSpecification"
_ALGORITHMS = ("TrainingImage", "AlgorithmName", "TrainingImageConfig", "TrainingInputMode", "MetricDefinitions")
"""Members of AlgorithmSpecification that ModelTrainer takes beside the request's own."""


def render(request: Mapping[str, Json], *, region: str = "") -> str:
    """Returns a script that makes this job with the SDK.

    Args:
      request: of CreateTrainingJob, with the members that every job needs, size of the volume and time limit included.
      region: of the job; "" leaves it to the environment.
    """
    trainer = _Trainer()
    for member, value in _regrouped(request).items():
        trainer.take(member, value)
    name = statement("JOB_NAME = ", request["TrainingJobName"])
    modules = (
        "from sagemaker.core.helper.session_helper import Session",
        parts.import_names("sagemaker.core.training.configs", trainer.classes),
        "from sagemaker.train import ModelTrainer",
    )
    return parts.script(
        title="Trains on SageMaker, by the SageMaker Python SDK 3.",
        requirement=REQUIREMENT,
        standard=("logging", "os"),
        modules=modules,
        region=region,
        values=(name, *((parts.more(trainer.more, comment=_COMMENT),) if trainer.more else ())),
        functions=(_NAME, *((parts.complete(),) if trainer.more else ())),
        body=(
            _LOGGING,
            _ROLE,
            _EVENTS + (f"\n{_COMPLETE}" if trainer.more else ""),
            "\n".join((statement("trainer = ", trainer.call()), *trainer.methods())),
            "upload()\ntrainer.train(wait=wait, logs=wait)",
        ),
    )


def _regrouped(request: Mapping[str, Json]) -> dict[str, Json]:
    """Returns the request's members as ModelTrainer groups them."""
    members: dict[str, Json] = {}
    for name, value in request.items():
        if name == _ALGORITHM and isinstance(value, dict):
            members |= {inner: value[inner] for inner in _ALGORITHMS if inner in value}
            members[_ALGORITHM] = {inner: value[inner] for inner in value if inner not in _ALGORITHMS}
        elif name not in _FLAGS and name != "TrainingJobName":
            members[name] = value
    for name, home in _FLAGS.items():
        if name in request:
            members[home] = {**_mapping(members.get(home)), name: request[name]}
    return members


@dataclass(slots=True, kw_only=True)
class _Trainer:
    """The parts of the call, while they are found."""

    arguments: dict[str, Source] = field(default_factory=dict)
    classes: set[str] = field(default_factory=set)
    more: dict[str, Json] = field(default_factory=dict)

    def take(self, member: str, value: Json) -> None:
        """Puts a member of the request where it belongs."""
        said, unsaid = _divided(member, value) if member in {**_ARGUMENTS, **_METHODS} else (None, value)
        if said not in (None, {}, []):
            self.arguments[member] = self.source(member, said)
        if unsaid in (None, {}, []):
            return
        flags = {name for name in _mapping(unsaid) if name in _FLAGS}
        self.more |= {name: _mapping(unsaid)[name] for name in sorted(flags)}
        if member in _ALGORITHMS:
            self.more[_ALGORITHM] = {**_mapping(self.more.get(_ALGORITHM)), member: unsaid}
        elif member == _ALGORITHM:
            self.more[_ALGORITHM] = {**_mapping(self.more.get(_ALGORITHM)), **_mapping(unsaid)}
        elif rest := _without(unsaid, flags):
            self.more[member] = rest

    def source(self, member: str, value: Json) -> Source:
        """Returns what to write for a member that the SDK takes; notes the classes that it needs."""
        name = _class(member)
        match value:
            case list() if name:
                return [self.source(member, item) for item in value]
            case dict() if name:
                self.classes.add(name)
                absent = {
                    parts.snake_case(key): None for key in _CLASSES[name] if key in _DEFAULTED and key not in value
                }
                said = {parts.snake_case(key): self.source(key, item) for key, item in value.items()}
                return Call(name=name, arguments={**said, **absent})
        return value

    def call(self) -> Call:
        """Returns the call of ModelTrainer."""
        said = {name: self.arguments[member] for member, name in _ARGUMENTS.items() if member in self.arguments}
        session = Call(name="Session", arguments={"boto_session": Verbatim(text="boto_session")})
        return Call(name="ModelTrainer", arguments={**said, "sagemaker_session": session})

    def methods(self) -> Iterator[str]:
        """Yields the calls that say what ModelTrainer takes by a method."""
        for member, name in _METHODS.items():
            if member in self.arguments:
                yield statement("", Call(name=f"trainer.{name}", arguments={"": self.arguments[member]}))


def _divided(member: str, value: Json) -> tuple[Json, Json]:
    """Returns the part of a value that the SDK sends on, and the rest."""
    if isinstance(value, dict) and _class(member):
        said = {key: item for key, item in value.items() if key in _CLASSES[_class(member)] and _survives(key, item)}
        return said, {key: item for key, item in value.items() if key not in said}
    return (value, None) if _survives(member, value) else (None, value)


def _survives(member: str, value: Json) -> bool:
    """Whether the SDK sends a value on as it is: inside its classes it knows no other members, and drops the empty."""
    name = _class(member)
    match value:
        case dict() if name:
            return bool(value) and all(key in _CLASSES[name] and _survives(key, item) for key, item in value.items())
        case list() if name:
            return bool(value) and all(_survives(member, item) for item in value)
        case None | False | 0 | "" | []:
            return False
    return True


def _class(member: str) -> str:
    name = _CLASS_OF.get(member, member)
    return name if name in _CLASSES else ""


def _mapping(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def _without(value: Json, names: set[str]) -> Json:
    return {key: item for key, item in value.items() if key not in names} if isinstance(value, dict) else value
