"""The metrics that SageMaker reads off the log: the trainer's, and the user's own."""

from __future__ import annotations

from smtrain.plugin import MetricPattern, Program
from smtrain_trainingjob.options import TrainingJobOptions


def definitions(program: Program, options: TrainingJobOptions) -> tuple[MetricPattern, ...]:
    """Returns them, each name once; the user's own pattern counts."""
    own = tuple(MetricPattern(name=name, regex=regex) for name, regex in options.metrics.items())
    return (*(metric for metric in program.metric_patterns if metric.name not in options.metrics), *own)
