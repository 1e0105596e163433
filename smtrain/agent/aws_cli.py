"""S3 through the AWS CLI, version 1 or 2; s3transfer in it renames a download when it is whole."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from smtrain.agent import commands
from smtrain.agent.parallel import each
from smtrain.agent.s3_uri import split
from smtrain.agent.store import Bulk, StoredObject, StoreError, Transfer

_PARALLEL = 4  # each is a Python process of its own, with ten transfers in parallel
_DELETE_LIMIT = 1000  # of DeleteObjects


class AwsCli:
    """Runs `aws`."""

    name = "the AWS CLI"

    def __init__(self, program: Path) -> None:
        """Takes the executable. It reads AWS_ENDPOINT_URL(_S3) itself, from 1.29 and 2.13 on."""
        self._program = str(program)

    def walk(self, prefix: str) -> tuple[StoredObject, ...]:
        """Returns every object below the prefix."""
        return self._list(prefix)

    def look(self, prefix: str) -> tuple[StoredObject, ...]:
        """Returns the objects and folders whose URI begins so."""
        return self._list(prefix, "--delimiter", "/")

    def fetch(self, transfers: tuple[Transfer, ...], *, bulk: Bulk | None = None) -> tuple[str, ...]:
        """Fetches objects."""
        if bulk is not None:
            return self._s3("cp", bulk.prefix, str(bulk.folder), "--recursive")
        return self._each(tuple((item.uri, str(item.path)) for item in transfers))

    def put(self, transfers: tuple[Transfer, ...]) -> tuple[str, ...]:
        """Stores files."""
        return self._each(tuple((str(item.path), item.uri) for item in transfers))

    def delete(self, uris: tuple[str, ...]) -> None:
        """Deletes objects."""
        of_bucket: dict[str, list[str]] = {}
        for uri in uris:
            bucket, key = split(uri)
            of_bucket.setdefault(bucket, []).append(key)
        for bucket, keys in of_bucket.items():
            for start in range(0, len(keys), _DELETE_LIMIT):
                self._delete(bucket, keys[start : start + _DELETE_LIMIT])

    def _delete(self, bucket: str, keys: list[str]) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
            json.dump({"Objects": [{"Key": key} for key in keys], "Quiet": True}, file)
            file.flush()
            self._api("delete-objects", f"--bucket={bucket}", f"--delete=file://{file.name}")

    def _list(self, prefix: str, *options: str) -> tuple[StoredObject, ...]:
        bucket, key = split(prefix)
        text = self._api("list-objects-v2", f"--bucket={bucket}", f"--prefix={key}", *options)
        answer = json.loads(text) if text.strip() else {}
        objects = tuple(
            StoredObject(uri=f"s3://{bucket}/{row['Key']}", size=row["Size"], etag=row["ETag"].strip('"'))
            for row in answer.get("Contents") or ()
        )
        folders = answer.get("CommonPrefixes") or ()
        return objects + tuple(StoredObject(uri=f"s3://{bucket}/{row['Prefix']}") for row in folders)

    def _api(self, *words: str) -> str:
        done = commands.run((self._program, "--output", "json", "s3api", *words), env=_UTF_8)
        if done.code:
            raise StoreError(done.errors.strip() or f"aws s3api ended with exit code {done.code}")
        return done.output

    def _each(self, pairs: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
        found = each(lambda pair: self._s3("cp", *pair), pairs, threads=_PARALLEL)
        return tuple(text for texts in found for text in texts)

    def _s3(self, *words: str) -> tuple[str, ...]:
        try:
            done = commands.run((self._program, "s3", *words, "--only-show-errors"), env=_UTF_8)
        except OSError as error:
            return (f"aws s3 {' '.join(words)}: {error}",)
        return tuple(filter(None, map(str.strip, done.errors.splitlines()))) if done.code else ()


# It prints keys, and in a locale without UTF-8 it cannot.
_UTF_8 = {"PYTHONIOENCODING": "utf-8", "PYTHONUTF8": "1", "AWS_PAGER": ""}
