"""Looking whether S3 has what a run reads, before anything is sent or made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

from smtrain import aws
from smtrain.errors import ExitCode, Problem, SmtrainError
from smtrain.spec import Expect, Json
from smtrain.suggest import did_you_mean

_SHOWN = 200
_PROFILE = "AWS_PROFILE=NAME."


def look(action: Expect) -> None:
    """Looks at every URI.

    Raises:
      SmtrainError: with each URI at which there is nothing, and what is near it; or S3 refused to say.
    """
    client = aws.Client("s3", action.region)
    problems = [problem for uri in action.uris for problem in _looked_at(client, uri)]
    if problems:
        raise SmtrainError(problems)


def _looked_at(client: aws.Client, uri: str) -> Iterator[Problem]:
    try:
        yield from _missing(client, uri)
    except aws.RefusedError as error:
        # S3 names neither the bucket nor the key that it means.
        what = f"{uri}: {error.problems[0].what}"
        fix = {
            "NoSuchBucket": "See what buckets there are: aws s3 ls",
            "AccessDenied": f"Allow s3:ListBucket on it to whoever runs smtrain, or choose another profile: {_PROFILE}",
        }.get(error.error_code, error.problems[0].fix)
        yield replace(error.problems[0], what=what, fix=fix)


def _missing(client: aws.Client, uri: str) -> Iterator[Problem]:
    bucket, _, key = uri.removeprefix("s3://").removesuffix("*").partition("/")
    folder = key if not key or key.endswith("/") else f"{key}/"
    # Two, since the first may be the empty object that consoles make to show a folder.
    inside = [name for name in _keys(client, bucket, folder, most=2) if name != folder]
    if inside or (key and not key.endswith("/") and key in _keys(client, bucket, key, most=1)):
        return
    yield Problem(
        key="",
        what=f"There is nothing at {uri}.",
        fix=_near(client, bucket, key.rstrip("/")),
        code=ExitCode.REMOTE_REFUSED,
    )


def _near(client: aws.Client, bucket: str, key: str) -> str:
    parent, slash, name = key.rpartition("/")
    answer = client.call("ListObjectsV2", Bucket=bucket, Prefix=f"{parent}{slash}", Delimiter="/", MaxKeys=_SHOWN)
    folders = cast("list[dict[str, str]]", answer.get("CommonPrefixes") or [])
    objects = cast("list[dict[str, str]]", answer.get("Contents") or [])
    names = [each["Prefix"].rstrip("/").rpartition("/")[2] for each in folders]
    names += [each["Key"].rpartition("/")[2] for each in objects]
    where = f"s3://{bucket}/{parent}"
    return f"In {where}: {did_you_mean(name, names)}" if names else f"{where} holds nothing at all."


def _keys(client: aws.Client, bucket: str, prefix: str, *, most: int) -> list[str]:
    answer = client.call("ListObjectsV2", Bucket=bucket, Prefix=prefix, MaxKeys=most)
    return [str(each["Key"]) for each in cast("list[dict[str, Json]]", answer.get("Contents") or [])]
