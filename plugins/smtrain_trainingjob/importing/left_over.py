"""Comments on the members of an imported request that have no place in an experiment."""

from __future__ import annotations

from collections.abc import Iterator

from smtrain_trainingjob.importing.experiment_text import Node, lost
from smtrain_trainingjob.importing.request_members import Members

_ADVICE = {
    "AlgorithmSpecification.AlgorithmName": "A trainer takes its place, in an image: backend.image.",
    "AlgorithmSpecification.ContainerEntrypoint": "The trainer says what is started: trainer=…",
    "AlgorithmSpecification.ContainerArguments": "What the program is told goes under trainer.args.",
    "AlgorithmSpecification.TrainingImageConfig": "Copy the image to ECR, and name that: backend.image.",
    "OutputDataConfig.CompressionType": "Results are kept as files, below storage.output.",
    "ResourceConfig.InstancePreferences": "Choose one of the types: compute.instance_type, compute.nodes.",
    "DebugHookConfig": "Metrics are read off the log: backend.metrics.",
    "TensorBoardOutputConfig": "Have the trainer write event files to its output folder, which is kept in S3.",
}
"""Member → what to do about it; the others have no equal."""

_SILENT: tuple[tuple[str, object], ...] = (
    ("CompressionType", "GZIP"),
    ("EnableSageMakerMetricsTimeSeries", False),
    ("TrainingImageConfig", {"TrainingRepositoryAccessMode": "Platform"}),
)
"""Members with SageMaker's own defaults, which its answers spell out."""


def comments(members: Members) -> Iterator[Node]:
    """Yields a comment for each member that nobody took, and takes it."""
    for name, silent in _SILENT:
        members.skip(name, silent)
    for path, value in members.left():
        yield lost(path, value, _ADVICE.get(path, "smtrain has no setting for it."))
