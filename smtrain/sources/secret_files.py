"""Which files look like secrets, by their names or by what stands in them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from smtrain.credentials import PATTERNS

_NAMES = (
    *(".env", ".env.*", "secrets.env", "credentials", ".netrc", "_netrc", ".git-credentials", ".pgpass", ".pypirc"),
    *("*.pem", "*.p12", "*.pfx", "*.jks", "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "kubeconfig", "*.kubeconfig"),
)
_EXAMPLES = (".env.example", ".env.sample", ".env.template", ".env.dist")

_CONTENTS = (
    *PATTERNS,
    # A service account of Google Cloud; iam.googleapis.com writes it as indented JSON.
    ("the private key of a service account", re.compile(rb'"private_key"\s{0,9}:')),
    ("a kubeconfig's credential", re.compile(rb"^\s{0,9}(?:client-key-data|kind: Config\n(?s:.{0,4000})token):", re.M)),
)

_LITERALS: Mapping[str, tuple[bytes, ...]] = {
    "a Hugging Face token": (b"hf_",),
    "an AWS access key": (b"AKIA", b"ASIA"),
    "a GitHub token": (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_"),
    "an OpenAI-style API key": (b"sk-",),
    "a private key": (b"PRIVATE KEY",),
    "the private key of a service account": (b'"private_key"',),
    "a kubeconfig's credential": (b"client-key-data", b"kind: Config"),
}
"""Name of a pattern → what each of its matches has one of; a search for that takes a tenth of the time."""

_CHUNK = 1 << 20
_OVERLAP = 1 << 13
"""Bytes of a chunk that are looked at again with the next one: more than any of the patterns needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What reading a file told.

    Attributes:
      sha256: hex digest of its content.
      size: bytes.
      secret: what stands in it that looks like a secret; "" for nothing.
    """

    sha256: str
    size: int
    secret: str = ""


def is_named_like_a_secret(name: str) -> bool:
    """Whether files of this name hold secrets, as a rule."""
    lower = name.lower()
    return lower not in _EXAMPLES and any(fnmatchcase(lower, pattern) for pattern in _NAMES)


def read(path: Path) -> Read:
    """Returns the file's digest and what in it looks like a secret, from one pass over it.

    Raises:
      OSError: it cannot be read.
    """
    digest, size, secret, tail = hashlib.sha256(), 0, "", b""
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            seen = tail + chunk
            secret = secret or _secret(seen)
            tail = seen[-_OVERLAP:]
    return Read(sha256=digest.hexdigest(), size=size, secret=secret)


def _secret(content: bytes) -> str:
    return next((name for name, pattern in _CONTENTS if _may_match(name, content) and pattern.search(content)), "")


def _may_match(name: str, content: bytes) -> bool:
    return name not in _LITERALS or any(literal in content for literal in _LITERALS[name])
