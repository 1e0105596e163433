"""A job on Kubernetes: its overrides, what compiling them gives, and its bundle on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import yaml

from smtrain.errors import Problem, SmtrainError
from smtrain.pipeline import Compiled
from smtrain.spec import Json, LocalFile
from smtrain.testing import compile_overrides

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/train:1"
PLACE = (
    f"backend.image={IMAGE}",
    "compute.instance_type=ml.p4d.24xlarge",
    "storage.output=s3://bucket/runs",
    "backend.service_account=trainer",
)
JOB = (
    "backend=hyperpod_eks",
    *PLACE,
    "trainer=lf_sft",
    "model=custom",
    "model.path=ORG/NAME",
    "model.template=llama3",
    "trainer.args.bf16=true",
)
KUBEFLOW = "backend.operator=kubeflow"
FSX = "++backend.volumes.fsx={path: /fsx, claim: fsx-claim}"


def compiled(*overrides: str) -> Compiled:
    """Returns a compiled job."""
    return compile_overrides((*JOB, *overrides))


def files(*overrides: str) -> Mapping[str, bytes]:
    """Returns path → content of the files that smtrain writes itself."""
    found = compiled(*overrides).bundle.files
    return {each.path: each.content for each in found if isinstance(each.content, bytes)}


def manifest(*overrides: str) -> dict[str, Json]:
    """Returns the job that the operator is given."""
    return cast("dict[str, Json]", yaml.safe_load(files(*overrides)["job.yaml"]))


def at(document: Json, *path: str | int) -> Json:
    """Returns a part of a document; None where there is none."""
    for part in path:
        if isinstance(document, dict) and isinstance(part, str):
            document = document.get(part)
        elif isinstance(document, list) and isinstance(part, int) and part < len(document):
            document = document[part]
        else:
            return None
    return document


def template(*overrides: str) -> dict[str, Json]:
    """Returns the pod template of a HyperPodPyTorchJob, or of the master of a PyTorchJob."""
    spec = manifest(*overrides)["spec"]
    found = at(spec, "replicaSpecs", 0, "template") or at(spec, "pytorchReplicaSpecs", "Master", "template")
    return cast("dict[str, Json]", found)


def pod(*overrides: str) -> dict[str, Json]:
    """Returns the pods' spec."""
    return cast("dict[str, Json]", template(*overrides)["spec"])


def container(*overrides: str) -> dict[str, Json]:
    """Returns the pods' container."""
    return cast("dict[str, Json]", at(pod(*overrides), "containers", 0))


def environment(*overrides: str) -> dict[str, Json]:
    """Returns variable → value, or where it is from, of the pods' container."""
    found = cast("list[dict[str, Json]]", container(*overrides)["env"])
    return {str(each["name"]): each.get("value", each.get("valueFrom")) for each in found}


def write(folder: Path, *overrides: str) -> Path:
    """Writes a job's bundle, and returns its folder."""
    bundle = folder / "bundle"
    for file in compiled(*overrides).bundle.files:
        path = bundle / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        content = file.content
        path.write_bytes(content.path.read_bytes() if isinstance(content, LocalFile) else content)
    return bundle


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
