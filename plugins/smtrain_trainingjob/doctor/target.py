"""Looks at the image, the network and the secrets that a job names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from smtrain.plugin import Finding, Json, aws

_IMAGE = re.compile(
    r"(?P<account>\d{12})\.dkr[.-]ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.[a-z0-9.-]+"
    r"/(?P<repository>[^:@]+)(?::(?P<tag>[^@]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_MEDIA_TYPES = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
)


def image(uri: str) -> Iterator[Finding]:
    """Looks whether the image is in its registry, by what a pull begins with."""
    place = _IMAGE.fullmatch(uri)
    if place is None:
        what = f"{uri} is in no registry of ECR, so it is not looked at."
        yield Finding(subject="image", good=None, what=what)
        return
    wanted = {"imageDigest": place["digest"]} if place["digest"] else {"imageTag": place["tag"] or "latest"}
    fix = "Correct backend.image, or push the image; `aws ecr describe-images` lists a repository of your own."
    try:
        answer = aws.Client("ecr", place["region"]).call(
            "BatchGetImage",
            registryId=place["account"],
            repositoryName=place["repository"],
            imageIds=[wanted],
            acceptedMediaTypes=list(_MEDIA_TYPES),
        )
    except aws.RefusedError as error:
        if error.error_code != "RepositoryNotFoundException":
            raise
        what = f"Account {place['account']} has no repository {place['repository']} in {place['region']}."
        yield Finding(subject="image", good=False, what=what, fix=fix)
        return
    if answer.get("images"):
        yield Finding(subject="image", good=True, what=f"{uri} is there.")
    else:
        yield Finding(subject="image", good=False, what=f"There is no image {uri}.", fix=fix)


def network(vpc: Mapping[str, Json], region: str) -> Iterator[Finding]:
    """Looks whether the subnets and security groups are there, all in one VPC."""
    asked = (("Subnets", "DescribeSubnets", "SubnetIds"), ("SecurityGroupIds", "DescribeSecurityGroups", "GroupIds"))
    found: dict[str, str] = {}
    for member, operation, argument in asked:
        ids = vpc.get(member)
        if not isinstance(ids, list) or not ids:
            continue
        try:
            answer = aws.Client("ec2", region).call(operation, **{argument: ids})
        except aws.RefusedError as error:
            if not error.error_code.startswith("Invalid"):
                raise
            fix = "Correct backend.subnets and backend.security_groups."
            yield Finding(subject="vpc", good=False, what=error.message, fix=fix)
            return
        rows = answer.get("Subnets", answer.get("SecurityGroups"))
        for row in rows if isinstance(rows, list) else []:
            if isinstance(row, dict):
                found[str(row.get("SubnetId", row.get("GroupId")))] = str(row.get("VpcId"))
    if len(set(found.values())) > 1:
        what = f"They are of several VPCs: {', '.join(f'{name} of {place}' for name, place in found.items())}."
        fix = "Choose subnets and security groups of one VPC."
        yield Finding(subject="vpc", good=False, what=what, fix=fix)
    elif found:
        what = f"{', '.join(found)} are in {next(iter(found.values()))}."
        yield Finding(subject="vpc", good=True, what=what)


def secret(name: str, reference: str, region: str) -> Iterator[Finding]:
    """Looks whether a secret is there; its value is not read."""
    kind, _, where = reference.partition(":")
    if kind == "secretsmanager":
        there = _in_secrets_manager(where.partition("#")[0], region)
    elif kind == "ssm":
        there = _in_parameter_store(where, region)
    else:
        what = f"{name}: {reference} is a matter of the image, which is not looked into."
        yield Finding(subject="secret", good=None, what=what)
        return
    if there:
        yield Finding(subject="secret", good=True, what=f"{name}: {reference} is there.")
    else:
        fix = f"Create it in {region}, or correct secrets.{name}."
        yield Finding(subject="secret", good=False, what=f"{name}: there is no {reference}.", fix=fix)


def _in_secrets_manager(where: str, region: str) -> bool:
    try:
        answer = aws.Client("secretsmanager", region).call("DescribeSecret", SecretId=where)
    except aws.RefusedError as error:
        if error.error_code != "ResourceNotFoundException":
            raise
        return False
    return answer.get("DeletedDate") is None


def _in_parameter_store(where: str, region: str) -> bool:
    named = [{"Key": "Name", "Option": "Equals", "Values": [where]}]
    answer = aws.Client("ssm", region).call("DescribeParameters", ParameterFilters=named)
    return bool(answer.get("Parameters"))
