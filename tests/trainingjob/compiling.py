"""A training job's overrides, and what compiling them gives."""

from __future__ import annotations

import json
from collections.abc import Mapping

from smtrain.errors import Problem, SmtrainError
from smtrain.pipeline import Compiled
from smtrain.spec import Json
from smtrain.testing import compile_overrides

ROLE = "arn:aws:iam::123456789012:role/training"
JOB = (
    "backend=trainingjob",
    f"backend.role={ROLE}",
    "backend.region=us-east-1",
    "storage.output=s3://bucket/runs",
    "compute.instance_type=ml.g5.2xlarge",
    "trainer=lf_sft",
    "model=custom",
    "model.path=ORG/NAME",
    "model.template=llama3",
    "trainer.args.bf16=true",
)


def compiled(*overrides: str) -> Compiled:
    """Returns a compiled training job."""
    return compile_overrides((*JOB, *overrides))


def request(*overrides: str) -> dict[str, Json]:
    """Returns the request of a training job."""
    document = json.loads(file("request.json", *overrides))
    assert isinstance(document, dict)
    return document


def file(path: str, *overrides: str) -> str:
    """Returns the text of a file of the bundle."""
    return files(*overrides)[path]


def files(*overrides: str) -> Mapping[str, str]:
    """Returns path → text of the files that smtrain writes itself."""
    found = compiled(*overrides).bundle.files
    return {each.path: each.content.decode() for each in found if isinstance(each.content, bytes)}


def errors(*overrides: str) -> list[Problem]:
    """Returns the errors of a job that does not compile."""
    try:
        compiled(*overrides)
    except SmtrainError as error:
        return [problem for problem in error.problems if problem.is_error]
    return []


def warnings(*overrides: str) -> dict[str, str]:
    """Returns key → text of the warnings of a job that compiles."""
    return {problem.key: f"{problem.what}\n{problem.fix}" for problem in compiled(*overrides).warnings}
