"""Names that S3 gives to no bucket."""

from __future__ import annotations

import re

RULE = "A bucket's name has 3 to 63 lower-case letters, digits, `-` and `.`, letters or digits at both ends."
"""AmazonS3/latest/userguide/bucketnamingrules."""

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_ADDRESS = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}", re.ASCII)


def is_bucket(name: str) -> bool:
    """Whether a bucket may have this name."""
    return bool(_BUCKET.fullmatch(name)) and ".." not in name and not _ADDRESS.fullmatch(name)


def fault(uri: str) -> str:
    """Says why an s3:// URI cannot be read or written by bucket and key; "" when it can."""
    name = uri.removeprefix("s3://").partition("/")[0]
    if name.startswith("arn:"):
        return f"`{uri}` names an access point, not a bucket."
    shown = f"`{name}`" if name.isprintable() else repr(name)
    return "" if is_bucket(name) else f"{shown} cannot be the name of a bucket."
