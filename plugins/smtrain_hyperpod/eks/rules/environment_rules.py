"""Variables of the container, and secrets, whose values are nowhere but in the cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator

from smtrain.plugin import Job, Problem, warning
from smtrain_hyperpod.eks import names
from smtrain_hyperpod.eks.options import EksOptions

_MOVABLE = frozenset({"SMTRAIN_RESUME", "SMTRAIN_S3_CLIENT"})
"""Variables of smtrain's own that may come from outside."""

_OPERATORS_OWN = frozenset(
    ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "MASTER_ADDR",
     "MASTER_PORT", "NNODES", "NODE_RANK")
)  # fmt: skip
_SECRET_NAME = re.compile(
    r"(?:^|_)(?:API_?KEY|PASSWORD|SECRET|SECRET_ACCESS_KEY|(?:HF|HUB|AUTH|ACCESS|SESSION)_TOKEN)$"
)
_SECRET_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}", re.ASCII)


def problems(job: Job, options: EksOptions) -> Iterator[Problem]:
    """Yields names that are taken, secrets in the open, and references that name nothing."""
    for section, given in (("environment", options.environment), ("secrets", options.secrets)):
        for name in given:
            if (name.startswith("SMTRAIN_") and name not in _MOVABLE) or name in _OPERATORS_OWN:
                what = f"`{name}` is set by smtrain or by the operator: the job would lose its way."
                yield Problem(key=f"backend.{section}.{name}", what=what, fix="Rename it.")
    for name, value in options.environment.items():
        if name in options.secrets:
            what = "It is a variable and a secret at once."
            yield Problem(key=f"backend.environment.{name}", what=what, fix="Leave one of the two out.")
        elif _SECRET_NAME.search(name) and value:
            what = f"`{name}` has the name of a secret, and its value stands in job.yaml for all who may read it."
            fix = f"Keep it in a Secret, and refer to it: backend.secrets.{name}=SECRET/KEY."
            yield warning(f"backend.environment.{name}", what, fix)
    yield from _references(options)
    yield from _workload(job, options)


def _references(options: EksOptions) -> Iterator[Problem]:
    for name, reference in options.secrets.items():
        secret, _, key = reference.partition("/")
        if not names.is_subdomain(secret) or not _SECRET_KEY.fullmatch(key):
            what = f"`{reference}` names no key of a Secret."
            fix = "Write SECRET/KEY; `kubectl get secret SECRET -o jsonpath='{.data}'` shows the keys."
            yield Problem(key=f"backend.secrets.{name}", what=what, fix=fix)


def _workload(job: Job, options: EksOptions) -> Iterator[Problem]:
    known = {*options.secrets, *options.environment}
    for name, reference in sorted(job.run.secrets.items()):
        kind, _, source = reference.partition(":")
        if name in options.secrets and reference != f"env:{name}":
            what = f"backend.secrets.{name} says that it is elsewhere."
            yield Problem(key=f"secrets.{name}", what=what, fix="Leave one of the two out.")
        elif kind == "env" and source not in known:
            what = f"`{reference}` must be in the image's own environment: nothing of this machine's gets there."
            fix = f"Keep it in a Secret of the cluster: backend.secrets.{source}=SECRET/KEY."
            yield warning(f"secrets.{name}", what, fix)
