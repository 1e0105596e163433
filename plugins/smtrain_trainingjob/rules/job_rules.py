"""What a job must be for SageMaker, apart from the request that comes of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from smtrain.plugin import Job, Problem, bucket_names, install_rules, warning
from smtrain_trainingjob import machine, request
from smtrain_trainingjob.options import TrainingJobOptions


def problems(job: Job, options: TrainingJobOptions) -> Iterator[Problem]:
    """Yields every reason why SageMaker could not run a job as it is configured."""
    yield from _output(job, options)
    yield from _role(options)
    yield from machine.problems(job, options)
    yield from machine.volume_problems(job, options)
    yield from machine.image(job, options)[2]
    yield from machine.image_region(options)
    yield from _secrets(job)
    yield from _isolated(options)
    yield from _toolkit(options)
    yield from _environment(options)
    yield from _scratch(options)
    yield from _python(options)
    yield from _code_key(options)
    yield from install_rules.problems(options.install)
    for key, folder in (("source_dir", options.source_dir), ("install.wheels", options.install.wheels)):
        # An empty path would be the current folder.
        if folder is not None and not (folder.strip() and Path(folder).expanduser().is_dir()):
            what = f"There is no folder `{folder}`."
            yield Problem(key=f"backend.{key}", what=what, fix="Relative paths start at the current folder, `.`.")


def output(job: Job) -> str:
    """Returns the s3:// URI under which runs have their folders, without a slash at its end."""
    return (job.run.storage.output or "").rstrip("/")


def _output(job: Job, options: TrainingJobOptions) -> Iterator[Problem]:
    given = job.run.storage.output
    if given is None:
        what = "Nothing says where the results go."
        yield Problem(key="storage.output", what=what, fix="Set storage.output=s3://BUCKET/PREFIX.")
    elif not given.startswith("s3://"):
        what = f"`{given}` is no s3:// URI."
        yield Problem(key="storage.output", what=what, fix="Write s3://BUCKET/PREFIX.")
    for key, uri in (("storage.output", given), ("backend.store", options.store)):
        if uri and uri.startswith("s3://") and (fault := bucket_names.fault(uri)):
            yield Problem(key=key, what=fault, fix=bucket_names.RULE)
        elif uri and "//" in uri.removeprefix("s3://"):
            what = f"`{uri}` has an empty folder name in it, which is a folder of its own to S3."
            yield warning(key, what, "Write one slash, unless that is meant.")


def _role(options: TrainingJobOptions) -> Iterator[Problem]:
    """The model's own words for a wrong ARN are a length and a pattern."""
    found = _ROLE.fullmatch(options.role)
    partition = machine.partition(options.region)
    if found is None:
        what = f"`{options.role}` is no ARN of a role."
        fix = f"Write arn:{partition}:iam::ACCOUNT:role/NAME; `aws iam get-role --role-name NAME` shows it."
        yield Problem(key="backend.role", what=what, fix=fix)
    elif found["partition"] != partition and not options.region.startswith("us-iso"):
        what = f"The role is of the partition `{found['partition']}`, and {options.region} belongs to `{partition}`."
        yield Problem(key="backend.role", what=what, fix="Name a role of the region's own account, or another region.")


def _environment(options: TrainingJobOptions) -> Iterator[Problem]:
    for name, value in options.environment.items():
        if name.startswith("SMTRAIN_") and name not in _MOVABLE:
            what = f"`{name}` is smtrain's own: the job sets it, or would lose its way."
            yield Problem(key=f"backend.environment.{name}", what=what, fix="Rename it.")
        elif _SECRET_NAME.search(name) and value:
            what = f"`{name}` has the name of a secret, and its value stands in request.json for all who may read it."
            fix = f"Keep it in Secrets Manager, and refer to it: secrets.{name}=secretsmanager:NAME."
            yield warning(f"backend.environment.{name}", what, fix)


def _scratch(options: TrainingJobOptions) -> Iterator[Problem]:
    place = PurePosixPath(options.scratch_dir)
    if not options.scratch_dir.isprintable() or ".." in place.parts:
        what = f"{options.scratch_dir!r} is no plain path."
        yield Problem(key="backend.scratch_dir", what=what, fix="Leave .. and line breaks out.")
        return
    for taken in map(PurePosixPath, _TAKEN):
        if place.is_relative_to(taken) or taken.is_relative_to(place):
            what = f"`{options.scratch_dir}` overlaps with {taken}, which SageMaker has taken."
            yield Problem(
                key="backend.scratch_dir", what=what, fix="Use /tmp/smtrain, or a folder such as /opt/ml/scratch."
            )
            return


def _python(options: TrainingJobOptions) -> Iterator[Problem]:
    name = options.python
    if not name.isprintable() or not name.strip() or (" " in name and "/" not in name):
        what = f"{name!r} is no name of one program."
        yield Problem(key="backend.python", what=what, fix="Name the interpreter alone, e.g. /opt/conda/bin/python.")


def _code_key(options: TrainingJobOptions) -> Iterator[Problem]:
    if options.kms.code is not None and not _KMS_KEY.fullmatch(options.kms.code):
        what = f"{options.kms.code!r} is no key of KMS."
        yield Problem(key="backend.kms.code", what=what, fix="Name it by its ARN, its id, or alias/NAME.")


def _toolkit(options: TrainingJobOptions) -> Iterator[Problem]:
    if options.entry == "toolkit":
        what = "The training toolkit passes no SIGTERM on, and makes every exit code 1: a stopped job cannot save."
        yield warning("backend.entry", what, "Leave it at `own`, unless the image starts nothing but `train`.")
        for name in sorted(set(options.hyperparameters) & set(request.TOOLKIT)):
            what = f"`{name}` tells the training toolkit what to start, which smtrain says itself."
            yield Problem(key=f"backend.hyperparameters.{name}", what=what, fix="Leave it out.")


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


_ROLE = re.compile(r"arn:(?P<partition>aws[a-z-]*):iam::\d{12}:role/[\w+=,.@/-]+", re.ASCII)
_KMS_KEY = re.compile(r"[a-zA-Z0-9:/_-]+", re.ASCII)
_SECRET_NAME = re.compile(
    r"(?:^|_)(?:API_?KEY|PASSWORD|SECRET|SECRET_ACCESS_KEY|(?:HF|HUB|AUTH|ACCESS|SESSION)_TOKEN)$"
)
_MOVABLE = ("SMTRAIN_SCRATCH_DIR", "SMTRAIN_RESUME", "SMTRAIN_MASTER_PORT")
"""Variables of smtrain's own that launch.sh takes from outside."""

_TAKEN = ("/opt/ml/input", "/opt/ml/model", "/opt/ml/output", "/opt/ml/code", "/run", "/proc", "/dev")
