"""What S3's refusals of an upload mean, and what to do about each."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import cast

from smtrain.aws import RefusedError
from smtrain.errors import ExitCode, SmtrainError, fail
from smtrain.spec import Json, Upload

_ON_BUCKET: Mapping[str, str] = {
    "ListObjectsV2": "s3:ListBucket",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
}
_ON_OBJECT = "s3:PutObject"  # every call that sends, the four of a multipart upload included
_NAMED = re.compile(r'not authorized to perform: (\S+) on resource: "?([^\s"]+)')


@contextlib.contextmanager
def explained(action: Upload, region: str) -> Iterator[None]:
    """Turns a refusal within into what it means for this upload."""
    try:
        yield
    except RefusedError as error:
        fix = _fix(error, action, region)
        if not fix:
            raise
        problem = replace(error.problems[0], fix=fix)
        raise RefusedError(
            problem, error_code=error.error_code, message=error.message, operation=error.operation
        ) from error


def check_region(answer: Mapping[str, Json], bucket: str, region: str) -> None:
    """Sees to it that the bucket is in the region that was called, by S3's answer.

    boto3 follows S3 to the bucket's own region without a word, but SageMaker reads from a bucket of the job's region
    only: "Please ensure that the bucket exists in the selected region".

    Raises:
      SmtrainError: it is elsewhere.
    """
    metadata = cast("dict[str, dict[str, str]]", answer.get("ResponseMetadata", {}))
    there = metadata.get("HTTPHeaders", {}).get("x-amz-bucket-region", region)
    if there != region:
        raise elsewhere(bucket, there, region)


def elsewhere(bucket: str, there: str, region: str) -> SmtrainError:
    """Returns the error for a bucket of another region."""
    what = f"The bucket `{bucket}` is in {there}, and the job's region is {region}: it must be in the job's region."
    fix = f"Train in {there}, or name a bucket in {region}; to make one: aws s3 mb s3://NAME --region {region}"
    return fail(what, fix, key="storage.output", code=ExitCode.REMOTE_REFUSED)


def _fix(error: RefusedError, action: Upload, region: str) -> str:
    bucket, _, prefix = action.uri.removeprefix("s3://").partition("/")
    match error.error_code:
        case "NoSuchBucket":
            return (
                f"Make it: aws s3 mb s3://{bucket} --region {region}\nOr name another one: storage.output=s3://NAME/…"
            )
        case "AccessDenied" | "403":
            permission, resource = _permission(error, bucket, prefix, region)
            allow = f"Allow {permission} on {resource} to whoever runs smtrain"
            return f"{allow}, or choose another profile: AWS_PROFILE=NAME."
        case _:
            return ""


def _permission(error: RefusedError, bucket: str, prefix: str, region: str) -> tuple[str, str]:
    """Returns the permission that is missing, and on what; S3 does not always say."""
    if named := _NAMED.search(error.message):
        return named[1], named[2]
    partition = "aws-cn" if region.startswith("cn-") else "aws-us-gov" if region.startswith("us-gov-") else "aws"
    arn = f"arn:{partition}:s3:::{bucket}"
    if permission := _ON_BUCKET.get(error.operation):
        return permission, arn
    # The last folder is named by content, and differs from run to run.
    store = "".join(f"{name}/" for name in prefix.split("/")[:-2])
    return _ON_OBJECT, f"{arn}/{store}*"
