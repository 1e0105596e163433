"""S3 URIs."""

from __future__ import annotations

SCHEME = "s3://"


def is_s3(uri: str) -> bool:
    """Returns whether this is the URI of a bucket, a prefix or an object."""
    return uri.startswith(SCHEME)


def split(uri: str) -> tuple[str, str]:
    """Returns bucket and key."""
    bucket, _, key = uri.removeprefix(SCHEME).partition("/")
    return bucket, key
