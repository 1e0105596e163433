"""Putting files of a bundle into S3: those that are not there yet, in parallel, each verified by S3 as it comes in."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from smtrain import amounts
from smtrain.aws import Client, multipart
from smtrain.aws import refusals as s3_refusals
from smtrain.aws.multipart import Target
from smtrain.errors import ExitCode, fail
from smtrain.progress import Observer
from smtrain.spec import Json, Upload

PARALLEL = 12
"""Requests at a time. A single one is far below what a network carries, and small files mostly wait for the round trip.

Source: "Performance design patterns for Amazon S3", which advises several connections of 8–16 MB requests; 2026-11.
"""

_LARGE = 64 * 2**20
"""Bytes from which on a file goes in parts, and an upload is announced; below, sending again what broke is cheap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """What an upload came to.

    Attributes:
      files_sent: files that were not there.
      bytes_sent: their bytes, without those that an upload that broke off had brought there before.
      files_there: files that were there already.
    """

    files_sent: int = 0
    bytes_sent: int = 0
    files_there: int = 0


def upload(bundle: Path, action: Upload, *, observer: Observer) -> Uploaded:
    """Sends what S3 lacks of an action's files.

    The URI is named by the files' content, and S3 shows an object only once it is whole: a key that is there, with the
    right size, is the file. A set that is there costs one LIST.

    Args:
      bundle: the bundle's folder.
      action: the files, and where they go.
      observer: is told in a line what was done.

    Raises:
      SmtrainError: S3 refused, cannot be reached, or does not list what was sent.
    """
    client = Client("s3", action.region)
    bucket, _, prefix = action.uri.removeprefix("s3://").partition("/")
    files = {prefix + key: bundle / path for path, key in action.files}
    sizes = {key: path.stat().st_size for key, path in files.items()}
    with s3_refusals.explained(action, client.region):
        there = _sizes(client, bucket, prefix)
        lacking = [key for key, size in sizes.items() if there.get(key) != size]
        known = len(sizes) - len(lacking)
        if not lacking:
            observer.line(f"{action.uri}: {amounts.count(known)} there already")
            return Uploaded(files_there=known)
        if (total := sum(sizes[key] for key in lacking)) >= _LARGE:
            observer.line(f"{action.uri}: uploading {amounts.count(len(lacking))}, {amounts.amount(total)}")
        targets = [Target(bucket=bucket, key=key, path=files[key], kms_key=action.kms_key) for key in lacking]
        sent = _send(client, targets)
        _prove(action.uri, sizes, _sizes(client, bucket, prefix))
    also = f"; {known} there already" if known else ""
    observer.line(f"{action.uri}: uploaded {amounts.count(len(lacking))}, {amounts.amount(sent)}{also}")
    return Uploaded(files_sent=len(lacking), bytes_sent=sent, files_there=known)


def _sizes(client: Client, bucket: str, prefix: str) -> dict[str, int]:
    """Returns key → bytes of every object below the prefix."""
    found: dict[str, int] = {}
    for page in client.pages("ListObjectsV2", Bucket=bucket, Prefix=prefix):
        s3_refusals.check_region(page, bucket, client.region)
        for each in cast("list[dict[str, Json]]", page.get("Contents", [])):
            found[str(each["Key"])] = int(cast(int, each["Size"]))
    return found


def _send(client: Client, targets: list[Target]) -> int:
    """Sends files, and returns how many bytes that took."""
    small = [target for target in targets if target.size <= _LARGE]
    large = [target for target in targets if target.size > _LARGE]
    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="upload") as pool:
        sent = sum(multipart.every(pool, lambda target: _put(client, target), small))
        # One after the other: the parts of one already fill the pool.
        return sent + sum(multipart.send(client, target, pool) for target in large)


def _put(client: Client, target: Target) -> int:
    with target.path.open("rb") as stream:
        checksum = multipart.checksum(stream)
        stream.seek(0)
        client.call("PutObject", **target.address, **target.encryption, Body=stream, ChecksumSHA256=checksum)
    return target.size


def _prove(uri: str, sizes: dict[str, int], there: dict[str, int]) -> None:
    wrong = sorted(key for key, size in sizes.items() if there.get(key) != size)
    if wrong:
        lacking = f"does not list {len(wrong)} of them as sent, e.g. `{wrong[0]}`"
        what = f"{uri}: S3 took {amounts.count(len(sizes))}, and {lacking}."
        raise fail(what, "Submit again: only what is missing is sent.", code=ExitCode.REMOTE_REFUSED)
