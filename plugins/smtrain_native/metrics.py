"""How to read the progress of a native training: its JSON-lines file, and the lines it prints."""

from __future__ import annotations

from collections.abc import Iterator

from smtrain.plugin import Job, MetricPattern, Progress
from smtrain_native import places
from smtrain_native.options import NativeOptions, PreferenceOptions
from smtrain_native.runtime import line_format

_OF_PAIRS = frozenset({"accuracy", "margin", "chosen_reward", "rejected_reward", "chosen_logps", "rejected_logps"})
"""Metrics of a training that supervised fine-tuning does not measure."""

_EVALUATED = ("loss", "perplexity")
_EVALUATED_PAIRS = ("loss", "accuracy", "margin")

MOST_PATTERNS = 40
"""A store of metrics takes so many definitions of one job: SageMaker (API_AlgorithmSpecification)."""


def progress(job: Job, options: NativeOptions) -> Progress:
    """Returns where a training reports its progress."""
    fields = {name: name for name in _training(options)}
    return Progress(
        path=f"{places.OUTPUT}/{line_format.METRICS_FILE}",
        step="step",
        total="total_steps",
        metrics={**fields, **line_format.evaluation_fields(evaluated(job, options), _evaluation(options))},
    )


def patterns(job: Job, options: NativeOptions) -> tuple[MetricPattern, ...]:
    """Returns the metrics in the printed lines, those of the training first, no more than a platform takes."""
    found = {name: line_format.PATTERNS[name] for name in _training(options)}
    found |= line_format.evaluation_patterns(evaluated(job, options), _evaluation(options))
    return tuple(MetricPattern(name=name, regex=regex) for name, regex in list(found.items())[:MOST_PATTERNS])


def evaluated(job: Job, options: NativeOptions) -> tuple[str, ...]:
    """Returns the names of the sets that the training evaluates on."""
    names = tuple(dataset.name for dataset in job.datasets if dataset.role == "eval")
    return tuple(name for name in names if not options.evaluation.sets or name in options.evaluation.sets)


def _training(options: NativeOptions) -> Iterator[str]:
    pairs = isinstance(options, PreferenceOptions)
    return (name for name in line_format.PATTERNS if pairs or name not in _OF_PAIRS)


def _evaluation(options: NativeOptions) -> tuple[str, ...]:
    return _EVALUATED_PAIRS if isinstance(options, PreferenceOptions) else _EVALUATED
