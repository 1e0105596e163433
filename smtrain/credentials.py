"""What looks like a credential, so that none is shown or sent."""

from __future__ import annotations

import re

PATTERNS: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    ("a Hugging Face token", re.compile(rb"\bhf_[A-Za-z0-9]{30,}\b")),
    ("an AWS access key", re.compile(rb"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")),
    ("a GitHub token", re.compile(rb"\bgh[pousr]_[A-Za-z0-9]{36,}\b")),
    ("an OpenAI-style API key", re.compile(rb"\bsk-(?:proj-|ant-)?[A-Za-z0-9_-]{32,}\b")),
    ("a private key", re.compile(rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----")),
)
"""Published formats of credentials."""

_IN_URL = re.compile(rb"(?<=://)[^/\s:@'\"]+:[^/\s@'\"]+(?=@)")
_SECRET_NAME = re.compile(r"(?:^|[._])(?:token|api_?key|password|secret|secret_access_key)$", re.IGNORECASE)


def names_secret(key: str) -> bool:
    """Whether the value of a dotted key is likely to be a secret, or a reference to one."""
    return key.partition(".")[0] == "secrets" or bool(_SECRET_NAME.search(key))


def hidden(text: str) -> str:
    """Returns the text with `…` for each credential in it."""
    raw = text.encode(errors="surrogateescape")
    for pattern in (*(pattern for _, pattern in PATTERNS), _IN_URL):
        raw = pattern.sub("…".encode(), raw)
    return raw.decode(errors="surrogateescape")


def hidden_override(text: str) -> str:
    """Returns a command line's override as it may be shown: what was typed for a secret may be the secret itself."""
    key, equals, _ = text.partition("=")
    return f"{key}=…" if equals and names_secret(key.lstrip("+~")) else hidden(text)
