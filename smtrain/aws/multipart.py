"""Sending a large file to S3 in parts, going on from where an earlier try broke off."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Executor, wait
from dataclasses import dataclass
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import TypeVar, cast

from smtrain.aws import Client, RefusedError
from smtrain.spec import Json

_MIB = 2**20
_PART = 16 * _MIB
_MOST_PARTS = 10_000  # S3 takes no more: "Amazon S3 multipart upload limits", 2026-11

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A file, and the object that it becomes.

    Attributes:
      bucket: the bucket.
      key: the object's key, named by its content.
      path: the file.
      kms_key: key that encrypts it; "" leaves that to the bucket.
    """

    bucket: str
    key: str
    path: Path
    kms_key: str = ""

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.path.stat().st_size

    @property
    def address(self) -> dict[str, str]:
        """The members of a request that say which object."""
        return {"Bucket": self.bucket, "Key": self.key}

    @property
    def encryption(self) -> dict[str, str]:
        """The members of a request that say how it is encrypted."""
        return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self.kms_key} if self.kms_key else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A part of an object that S3 has; `sent` is what bringing it there took this time, in bytes."""

    number: int
    etag: str
    checksum: str
    sent: int = 0

    def as_request(self) -> dict[str, Json]:
        return {"PartNumber": self.number, "ETag": self.etag, "ChecksumSHA256": self.checksum}


def send(client: Client, target: Target, pool: Executor) -> int:
    """Sends a file in parts, but for those that S3 already has of an upload that broke off.

    Args:
      client: of S3.
      target: the file and its object.
      pool: sends so many parts at a time as it has workers.

    Returns:
      How many bytes that took.

    Raises:
      SmtrainError: as `Client.call` does; the parts that came through are kept for the next try.
    """
    upload, there = _unfinished(client, target) or (_begin(client, target), {})
    address = {**target.address, "UploadId": upload}
    try:
        parts = every(pool, partial(_bring, client, target, address, there), list(_ranges(target.size)))
        whole = {"Parts": [part.as_request() for part in parts]}
        client.call("CompleteMultipartUpload", **address, MultipartUpload=whole)
    except RefusedError as error:
        # Somebody else went on with the same upload and completed it, or this was done and the answer got lost. Whether
        # the object is there is proven afterwards in any case.
        if error.error_code != "NoSuchUpload":
            raise
        return 0
    return sum(part.sent for part in parts)


def every(pool: Executor, do: Callable[[ItemT], ResultT], items: Iterable[ItemT]) -> list[ResultT]:
    """Returns what `do` returns for each item, in their order; the first failure keeps the rest from being begun."""
    futures = [pool.submit(do, item) for item in items]
    try:
        wait(futures, return_when=FIRST_EXCEPTION)
    finally:
        for future in futures:
            future.cancel()
    return [future.result() for future in futures]


def checksum(stream: BufferedReader) -> str:
    """Returns the SHA-256 of a stream as S3 spells it."""
    return base64.b64encode(hashlib.file_digest(stream, "sha256").digest()).decode()


def _begin(client: Client, target: Target) -> str:
    answer = client.call("CreateMultipartUpload", **target.address, **target.encryption, ChecksumAlgorithm="SHA256")
    return str(answer["UploadId"])


def _unfinished(client: Client, target: Target) -> tuple[str, dict[int, _Part]] | None:
    """Returns the newest unfinished upload of this object, and its parts by their number."""
    try:
        pages = client.pages("ListMultipartUploads", Bucket=target.bucket, Prefix=target.key)
        uploads = [each for page in pages for each in cast("list[dict[str, Json]]", page.get("Uploads", []))]
        # A part that is there cannot be checked unless the upload was begun with checksums.
        ours = [
            each
            for each in uploads
            if each["Key"] == target.key and each.get("ChecksumAlgorithm", "SHA256") == "SHA256"
        ]
        if not ours:
            return None
        upload = str(max(ours, key=lambda each: cast(float, each["Initiated"]))["UploadId"])
        return upload, _parts(client, target, upload)
    except RefusedError as error:
        # Going on is a saving, for which not everybody has the permission, and which not every server offers.
        if error.error_code in ("AccessDenied", "NoSuchUpload", "NotImplemented"):
            return None
        raise


def _parts(client: Client, target: Target, upload: str) -> dict[int, _Part]:
    sizes = {number: size for number, _, size in _ranges(target.size)}
    found = {}
    for page in client.pages("ListParts", **target.address, UploadId=upload):
        for each in cast("list[dict[str, Json]]", page.get("Parts", [])):
            number = int(cast(int, each["PartNumber"]))
            if each["Size"] == sizes.get(number):
                checksum = str(each.get("ChecksumSHA256", ""))
                found[number] = _Part(number=number, etag=str(each["ETag"]), checksum=checksum)
    return found


def _ranges(size: int) -> Iterator[tuple[int, int, int]]:
    """Yields (number, offset, bytes) of each part; they follow from the size alone, so that any try cuts alike."""
    length = max(_PART, -(-size // (_MOST_PARTS * _MIB)) * _MIB)
    for number, offset in enumerate(range(0, size, length), start=1):
        yield number, offset, min(length, size - offset)


def _bring(
    client: Client, target: Target, address: dict[str, str], there: dict[int, _Part], span: tuple[int, int, int]
) -> _Part:
    number, offset, length = span
    with target.path.open("rb") as stream:
        stream.seek(offset)
        body = stream.read(length)
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    known = there.get(number)
    # Servers other than S3 may not tell a part's checksum. S3 compares it once more when the upload is completed.
    if known and known.checksum in (digest, ""):
        return _Part(number=number, etag=known.etag, checksum=digest)
    answer = client.call("UploadPart", **address, PartNumber=number, Body=body, ChecksumSHA256=digest)
    return _Part(number=number, etag=str(answer["ETag"]), checksum=digest, sent=length)
