"""What the agent asks of a place that keeps objects: S3, or a folder."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

# Seen from s5cmd 2.3.0, AWS CLI 1.46 and boto3 1.44; S3's names are those of its API reference, "Error responses".
_TROUBLES = (
    ("DISK_FULL", r"no space left|ENOSPC|Errno 28|quota exceeded|file too large|Errno 27"),
    ("NO_BUCKET", r"NoSuchBucket"),
    (
        "NO_CREDENTIALS",
        r"NoCredential|locate credentials|ExpiredToken|InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken",
    ),
    ("DENIED", r"AccessDenied|AllAccessDisabled|Forbidden|\b403\b"),
    ("ARCHIVED", r"InvalidObjectState|glacier"),
)


class Trouble(enum.Enum):
    """Why a place refuses, as far as it decides what happens next."""

    DISK_FULL = "disk full"
    NO_BUCKET = "no bucket"
    NO_CREDENTIALS = "no credentials"
    DENIED = "denied"
    ARCHIVED = "archived"
    PASSING = "passing"  # throttled, disconnected, or unknown: worth another try


def trouble(text: str) -> Trouble:
    """Returns what kind of trouble an error message tells of."""
    for name, pattern in _TROUBLES:
        if re.search(pattern, text, re.IGNORECASE):
            return Trouble[name]
    return Trouble.PASSING


class StoreError(Exception):
    """A listing or a deletion failed."""

    @property
    def trouble(self) -> Trouble:
        """What kind of trouble it is."""
        return trouble(str(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """One object, or (in a shallow listing) a folder, whose URI ends in "/".

    Attributes:
      uri: its whole URI.
      size: bytes.
      etag: changes when the content does; "" where that is unknown.
    """

    uri: str
    size: int = 0
    etag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One object and the file that it comes from or goes to; size in bytes."""

    uri: str
    path: Path
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bulk:
    """Says that the transfers are all that is below `prefix` (ends in "/"), each at the same place below `folder`."""

    prefix: str
    folder: Path


class Store(Protocol):
    """A place that keeps objects. What a transfer reports is a hint: the caller compares names and sizes."""

    @property
    def name(self) -> str:
        """What transfers, for the log."""
        ...

    def walk(self, prefix: str) -> tuple[StoredObject, ...]:
        """Returns every object below a prefix that ends in "/"; raises StoreError."""
        ...

    def look(self, prefix: str) -> tuple[StoredObject, ...]:
        """Returns the objects and folders whose URI begins so, up to the next "/"; raises StoreError."""
        ...

    def fetch(self, transfers: tuple[Transfer, ...], *, bulk: Bulk | None = None) -> tuple[str, ...]:
        """Fetches objects, each file appearing under its name only when it is whole; returns error messages."""
        ...

    def put(self, transfers: tuple[Transfer, ...]) -> tuple[str, ...]:
        """Stores files; returns error messages."""
        ...

    def delete(self, uris: tuple[str, ...]) -> None:
        """Deletes objects; one that is not there is no error; raises StoreError."""
        ...


def shallow(objects: tuple[StoredObject, ...], prefix: str) -> tuple[StoredObject, ...]:
    """Returns what `Store.look` returns, from a deep listing."""
    found: dict[str, StoredObject] = {}
    for item in objects:
        head, slash, _ = item.uri[len(prefix) :].partition("/")
        uri = prefix + head + slash
        found.setdefault(uri, StoredObject(uri=uri) if slash else item)
    return tuple(found.values())
