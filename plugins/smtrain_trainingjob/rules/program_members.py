"""Rules of the image, the metrics, the environment and the tags that SageMaker's service model does not carry.

Pages are named as in `rules_compute`.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator

from smtrain.plugin import Problem
from smtrain_trainingjob.rules.request_view import Path, RequestView, repeated, shown

_ALGORITHM = "AlgorithmSpecification"
_IMAGE = re.compile(
    r"""
    \d{12}\.(?:dkr\.ecr|dkr-ecr)(?:-fips)?\.[a-z]{2,4}(?:-[a-z]+)+-\d{1,2}\.[a-z0-9.-]+  # registry
    /[a-z0-9]+(?:[._/-]+[a-z0-9]+)*  # repository
    (?::\w[\w.-]{0,127})?  # tag
    (?:@sha256:[0-9a-f]{64})?  # digest
    """,
    re.ASCII | re.VERBOSE,
)
_LONGEST_REGEX = 500  # the model reports a longer one


def algorithm(view: RequestView) -> Iterator[Problem]:
    """Either an image or an algorithm of the marketplace: API_AlgorithmSpecification."""
    if view.mapping("ServerlessJobConfig"):
        return
    given = [name for name in ("TrainingImage", "AlgorithmName") if view.text(_ALGORITHM, name)]
    if len(given) != 1:
        what = "both an image and an algorithm are named." if given else "no image is named."
        yield view.error((_ALGORITHM, "TrainingImage"), what, "Name one of them." if given else "Name one.")


def image(view: RequestView) -> Iterator[Problem]:
    """An image comes from ECR, or with access mode Vpc from a registry in the VPC: API_TrainingImageConfig.

    The registries' names: AmazonECR/latest/userguide/Registries and …/ecr-requests.
    """
    path: Path = (_ALGORITHM, "TrainingImage")
    name = view.text(*path)
    if view.text(_ALGORITHM, "TrainingImageConfig", "TrainingRepositoryAccessMode") == "Vpc":
        if not view.mapping("VpcConfig"):
            what = "an image from a registry in a VPC needs the VPC."
            yield view.error(path, what, "Set its subnets and security groups.")
    elif name and not _IMAGE.fullmatch(name):
        fix = "Write ACCOUNT.dkr.ecr.REGION.amazonaws.com/REPOSITORY:TAG, the account in 12 digits."
        yield view.error(path, f"{shown(name)} is no image in ECR.", fix)


def metrics(view: RequestView) -> Iterator[Problem]:
    """A metric has a name of its own and a regular expression with a group for the number: dg/training-metrics."""
    definitions = list(view.items(_ALGORITHM, "MetricDefinitions"))
    names = (((*metric, "Name"), view.text(*metric, "Name")) for metric in definitions)
    for path, name in repeated(names):
        yield view.error(path, f"two metrics are named {shown(name)}.", "Rename one of them.")
    for metric in definitions:
        regex = view.text(*metric, "Regex")
        if fault := _fault(regex):
            what = f"the regular expression of {shown(view.text(*metric, 'Name'))} {fault}."
            fix = "Put the part that is the number in parentheses, as in `loss: ([0-9.]+)`."
            yield view.error((*metric, "Regex"), what, fix)


def _fault(regex: str) -> str:
    """Says what is wrong with a regular expression; compiles it, and applies it to nothing."""
    if not regex or len(regex) > _LONGEST_REGEX:
        return ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            groups = re.compile(regex).groups
    except (re.error, OverflowError, RecursionError) as error:
        return f"is none: {error}"
    return "" if groups else "has no group"


def environment(view: RequestView) -> Iterator[Problem]:
    """No process can be given a variable with a NUL (POSIX, `exec`); the model takes every character."""
    for name, value in view.mapping("Environment").items():
        if isinstance(value, str) and "\0" in value:
            yield view.error(("Environment", name), f"{shown(name)} has a NUL character in it.", "Take it out.")


def tags(view: RequestView) -> Iterator[Problem]:
    """Each key once, and none of AWS's own: general/latest/gr/aws_tagging."""
    named = [((*tag, "Key"), view.text(*tag, "Key")) for tag in view.items("Tags")]
    for path, name in repeated(iter(named)):
        yield view.error(path, f"two tags are named {shown(name)}.", "Take one out.")
    for path, name in named:
        if name.lower().startswith("aws:"):
            what = f"{shown(name)} begins with `aws:`, which AWS keeps for itself."
            yield view.error(path, what, "Rename the tag.")


RULES = (algorithm, image, metrics, environment, tags)
