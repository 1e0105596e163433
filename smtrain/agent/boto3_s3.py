"""S3 through boto3, where the image has nothing faster; s3transfer in it renames a download when it is whole."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Protocol

from smtrain.agent.parallel import each
from smtrain.agent.s3_uri import split
from smtrain.agent.store import Bulk, StoredObject, StoreError, Transfer

_PARALLEL = 8
_DELETE_LIMIT = 1000  # of DeleteObjects


class _Paginator(Protocol):
    def paginate(self, **arguments: str) -> list[dict[str, list[dict[str, str]]]]: ...


class _Client(Protocol):
    def get_paginator(self, name: str) -> _Paginator: ...

    def download_file(self, bucket: str, key: str, path: str) -> None: ...

    def upload_file(self, path: str, bucket: str, key: str) -> None: ...

    def delete_objects(self, **arguments: object) -> object: ...


class Boto3:
    """Calls boto3."""

    name = "boto3"

    def __init__(self) -> None:
        """Makes a client; raises ImportError where there is no boto3."""
        # By name: the agent imports the standard library alone, and the image may have no boto3.
        boto3 = importlib.import_module("boto3")
        config = importlib.import_module("botocore.config")
        options = config.Config(max_pool_connections=8 * _PARALLEL, retries={"mode": "standard", "max_attempts": 8})
        self._client: _Client = boto3.client("s3", config=options)

    def walk(self, prefix: str) -> tuple[StoredObject, ...]:
        """Returns every object below the prefix."""
        return self._list(prefix)

    def look(self, prefix: str) -> tuple[StoredObject, ...]:
        """Returns the objects and folders whose URI begins so."""
        return self._list(prefix, Delimiter="/")

    def fetch(self, transfers: tuple[Transfer, ...], *, bulk: Bulk | None = None) -> tuple[str, ...]:
        """Fetches objects."""
        del bulk
        for item in transfers:
            item.path.parent.mkdir(parents=True, exist_ok=True)
        return _all(transfers, lambda item: self._client.download_file(*split(item.uri), str(item.path)))

    def put(self, transfers: tuple[Transfer, ...]) -> tuple[str, ...]:
        """Stores files."""
        return _all(transfers, lambda item: self._client.upload_file(str(item.path), *split(item.uri)))

    def delete(self, uris: tuple[str, ...]) -> None:
        """Deletes objects."""
        of_bucket: dict[str, list[dict[str, str]]] = {}
        for uri in uris:
            bucket, key = split(uri)
            of_bucket.setdefault(bucket, []).append({"Key": key})
        for bucket, keys in of_bucket.items():
            for start in range(0, len(keys), _DELETE_LIMIT):
                self._delete(bucket, keys[start : start + _DELETE_LIMIT])

    def _delete(self, bucket: str, keys: list[dict[str, str]]) -> None:
        try:
            self._client.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
        except Exception as error:
            raise StoreError(_told(error)) from error

    def _list(self, prefix: str, **options: str) -> tuple[StoredObject, ...]:
        bucket, key = split(prefix)
        found = []
        try:
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key, **options):
                for row in page.get("Contents", ()):
                    uri, etag = f"s3://{bucket}/{row['Key']}", row["ETag"].strip('"')
                    found.append(StoredObject(uri=uri, size=int(row["Size"]), etag=etag))
                folders = page.get("CommonPrefixes", ())
                found += [StoredObject(uri=f"s3://{bucket}/{row['Prefix']}") for row in folders]
        except Exception as error:
            raise StoreError(_told(error)) from error
        return tuple(found)


def _all(transfers: tuple[Transfer, ...], transfer: Callable[[Transfer], None]) -> tuple[str, ...]:
    def attempt(item: Transfer) -> str:
        try:
            transfer(item)
        except Exception as error:  # noqa: BLE001 - botocore's and urllib3's many; the text is classified
            return f"{item.uri}: {_told(error)}"
        return ""

    return tuple(filter(None, each(attempt, transfers, threads=_PARALLEL)))


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
