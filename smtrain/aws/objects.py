"""Objects of S3 as files: listed, and fetched in parallel, each whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

from smtrain.aws.client import Client, RefusedError
from smtrain.errors import ExitCode, SmtrainError, fail

PARALLEL = 8
"""Objects on their way at a time; a large one is itself fetched in parallel parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An object.

    Attributes:
      bucket: its bucket.
      key: its key.
      path: its key below what was listed.
      size: bytes.
      changed: POSIX seconds of its last change.
    """

    bucket: str
    key: str
    path: str
    size: int
    changed: float


def split(uri: str) -> tuple[str, str]:
    """Returns the bucket and the key of an s3:// URI."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def listed(client: Client, uri: str) -> Iterator[Found]:
    """Yields the objects below a URI, which stands for a folder; markers of folders are none.

    Raises:
      SmtrainError: AWS refused, or cannot be reached.
    """
    bucket, key = split(uri)
    yield from beginning(client, bucket, f"{key.rstrip('/')}/" if key else "")


def beginning(client: Client, bucket: str, prefix: str) -> Iterator[Found]:
    """Yields the objects whose keys begin so; markers of folders are none. Raises as `listed` does."""
    for page in client.pages("ListObjectsV2", Bucket=bucket, Prefix=prefix):
        contents = page.get("Contents")
        for row in contents if isinstance(contents, list) else []:
            if not isinstance(row, dict) or str(row["Key"]).endswith("/"):
                continue
            yield Found(
                bucket=bucket,
                key=str(row["Key"]),
                path=str(row["Key"])[len(prefix) :],
                size=int(str(row["Size"])),
                changed=_seconds(row.get("LastModified")) or 0.0,
            )


def at(client: Client, uri: str) -> Found | None:
    """Returns the object at a URI; None when there is none."""
    bucket, key = split(uri)
    try:
        head = client.call("HeadObject", Bucket=bucket, Key=key)
    except RefusedError as error:
        if error.error_code in ("404", "NoSuchKey", "NotFound"):
            return None
        raise
    changed = _seconds(head.get("LastModified")) or 0.0
    return Found(
        bucket=bucket, key=key, path=key.rpartition("/")[2], size=int(str(head["ContentLength"])), changed=changed
    )


def fetch(client: Client, wanted: Iterable[tuple[Found, Path]]) -> tuple[Path, ...]:
    """Writes objects to files, and returns those files; one that is there already, as it is in S3, is left alone.

    A file has its name only when it is whole, so that a transfer that broke off is gone on with by asking again.

    Args:
      client: of S3.
      wanted: objects, and the file for each.

    Raises:
      SmtrainError: AWS refused, cannot be reached, or sent less than it listed; the other files were fetched.
    """
    pairs = list(wanted)
    with ThreadPoolExecutor(PARALLEL) as pool:
        done = [pool.submit(_fetch, client, found, path) for found, path in pairs]
    errors = [error for each in done if isinstance(error := each.exception(), SmtrainError)]
    if errors:
        raise SmtrainError(dict.fromkeys(problem for error in errors for problem in error.problems))
    return tuple(each.result() for each in done)


def below(folder: Path, found: Found) -> Path:
    """Returns the file for an object in a folder.

    Raises:
      SmtrainError: its key leads out of the folder.
    """
    parts = PurePosixPath(found.path).parts
    if not parts or ".." in parts or parts[0] == "/" or "\0" in found.path:
        what = f"The key of s3://{found.bucket}/{found.key!r} leads out of the folder that is fetched."
        raise fail(what, "Remove or rename that object.", code=ExitCode.REMOTE_REFUSED)
    return folder.joinpath(*parts)


def _fetch(client: Client, found: Found, path: Path) -> Path:
    if _is_there(path, found):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        client.download(found.bucket, found.key, new)
        size = new.stat().st_size
        if size != found.size:
            what = f"s3://{found.bucket}/{found.key} has {found.size:,} bytes, of which {size:,} came."
            raise fail(what, "Fetch again.", code=ExitCode.REMOTE_REFUSED)
        os.utime(new, (found.changed, found.changed))
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
    return path


def _is_there(path: Path, found: Found) -> bool:
    """Returns whether a file is the object: of its size, and of its time, which fetching gives it."""
    try:
        status = path.stat()
    except OSError:
        return False
    return status.st_size == found.size and int(status.st_mtime) == int(found.changed)


def _seconds(value: object) -> float | None:
    return value.timestamp() if isinstance(value, datetime) else None
