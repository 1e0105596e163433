"""What a job must be for SageMaker, apart from the request that comes of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from smtrain.plugin import Job, Problem, warning
from smtrain_trainingjob import machine
from smtrain_trainingjob.options import TrainingJobOptions


def problems(job: Job, options: TrainingJobOptions) -> Iterator[Problem]:
    """Yields every reason why SageMaker could not run a job as it is configured."""
    yield from _output(job)
    yield from machine.problems(job, options)
    _, _, wrong = machine.image(job, options)
    yield from wrong
    yield from _secrets(job)
    yield from _isolated(options)
    yield from _toolkit(options)
    if options.source_dir is not None and not Path(options.source_dir).expanduser().is_dir():
        what = f"There is no folder `{options.source_dir}`."
        yield Problem(key="backend.source_dir", what=what, fix="Relative paths start at the current folder.")


def output(job: Job) -> str:
    """Returns the s3:// URI under which runs have their folders, without a slash at its end."""
    return (job.run.storage.output or "").rstrip("/")


def _output(job: Job) -> Iterator[Problem]:
    given = job.run.storage.output
    if given is None:
        what = "Nothing says where the results go."
        yield Problem(key="storage.output", what=what, fix="Set storage.output=s3://BUCKET/PREFIX.")
    elif not given.startswith("s3://"):
        what = f"`{given}` is no s3:// URI."
        yield Problem(key="storage.output", what=what, fix="Write s3://BUCKET/PREFIX.")


def _toolkit(options: TrainingJobOptions) -> Iterator[Problem]:
    if options.entry == "toolkit":
        what = "The training toolkit passes no SIGTERM on, and makes every exit code 1: a stopped job cannot save."
        yield warning("backend.entry", what, "Leave it at `own`, unless the image starts nothing but `train`.")


def _isolated(options: TrainingJobOptions) -> Iterator[Problem]:
    if not options.network_isolation:
        return
    if not options.model_dir:
        what = "Without a network, the model leaves the hosts through /opt/ml/model alone."
        yield Problem(key="backend.model_dir", what=what, fix="Set backend.model_dir=true.")
    if options.checkpoints.uri is None:
        what = "Without a network, checkpoints are kept by SageMaker alone, which is not told where."
        yield warning("backend.checkpoints.uri", what, "Set it to an s3:// URI, to go on after an interruption.")


def _secrets(job: Job) -> Iterator[Problem]:
    for name, reference in sorted(job.run.secrets.items()):
        if reference.startswith("env:"):
            what = f"`{reference}` must be in the image's own environment: nothing of this machine's gets there."
            fix = "Keep it in Secrets Manager (secretsmanager:NAME) or Parameter Store (ssm:/NAME)."
            yield warning(f"secrets.{name}", what, fix)
