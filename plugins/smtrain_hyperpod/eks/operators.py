"""The operators, by the names that `backend.operator` has for them."""

from __future__ import annotations

from collections.abc import Mapping

from smtrain_hyperpod.eks.hyperpod_job import HyperPodOperator
from smtrain_hyperpod.eks.operator import Operator
from smtrain_hyperpod.eks.options import EksOptions
from smtrain_hyperpod.eks.pytorch_job import KubeflowOperator

_OPERATORS: Mapping[str, Operator] = {"hyperpod": HyperPodOperator(), "kubeflow": KubeflowOperator()}


def of_kind(kind: str) -> Operator:
    """Returns the operator of a kind of jobs."""
    return next(operator for operator in _OPERATORS.values() if operator.kind == kind)


def of(options: EksOptions) -> Operator:
    """Returns the operator that is to run the job."""
    return _OPERATORS[options.operator]
