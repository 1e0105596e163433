"""Looking at an account before anything is launched in it; nothing is changed there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator

from smtrain.plugin import Bundle, Finding, Job, Json, SmtrainError, aws
from smtrain_trainingjob.doctor import account as look_account
from smtrain_trainingjob.doctor import storage as look_storage
from smtrain_trainingjob.doctor import target as look_target
from smtrain_trainingjob.options import TrainingJobOptions

Look = Callable[[], Iterable[Finding]]


def diagnose(job: Job, bundle: Bundle, options: TrainingJobOptions) -> Iterator[Finding]:
    """Yields what is found, in the order in which a submission would meet it.

    Args:
      job: the job.
      bundle: what would be submitted.
      options: the section `backend`.

    Raises:
      SmtrainError: there are no credentials, without which nothing can be seen.
    """
    request = _request(bundle)
    region = options.region
    identity = look_account.identity(region)
    yield Finding(subject="credentials", good=True, what=f"{identity.arn}, in {region}.")
    role = str(request.get("RoleArn", ""))
    image = str(_object(request, "AlgorithmSpecification").get("TrainingImage", ""))
    vpc = _object(request, "VpcConfig")
    looks: tuple[tuple[str, Look], ...] = (
        ("role", lambda: look_account.role(role, identity, region)),
        ("quota", lambda: look_account.quota(request, region)),
        *(
            (subject, lambda subject=subject, bucket=bucket: look_storage.bucket(subject, bucket, region))
            for subject, bucket in look_storage.buckets(request, bundle)
        ),
        *(("input", lambda uri=uri: look_storage.data(uri, region)) for uri in look_storage.uris(bundle)),
        ("image", lambda: look_target.image(image)),
        ("vpc", lambda: look_target.network(vpc, region)),
        *(
            ("secret", lambda name=name, where=where: look_target.secret(name, where, region))
            for name, where in sorted(job.run.secrets.items())
        ),
    )
    for subject, look in looks:
        yield from _looked(subject, look)


def _looked(subject: str, look: Look) -> Iterator[Finding]:
    """Yields what a look finds; that it was refused says nothing about what was to be seen."""
    try:
        yield from look()
    except SmtrainError as error:
        problem = error.problems[0]
        fix = problem.fix if isinstance(error, aws.RefusedError) else ""
        yield Finding(subject=subject, good=None, what=f"It could not be looked at: {problem.what}", fix=fix)


def _request(bundle: Bundle) -> dict[str, Json]:
    for file in bundle.files:
        if file.path == "request.json" and isinstance(file.content, bytes):
            document = json.loads(file.content)
            if isinstance(document, dict):
                return document
    message = "the bundle has no request.json"
    raise AssertionError(message)


def _object(request: dict[str, Json], name: str) -> dict[str, Json]:
    value = request.get(name)
    return value if isinstance(value, dict) else {}
