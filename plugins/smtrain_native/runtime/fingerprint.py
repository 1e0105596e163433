"""Which model this is: a digest that another model has not."""

from __future__ import annotations

import hashlib
from pathlib import Path

_EDGE = 2**20
"""Bytes read of either end of a file; reading all of it would take minutes."""

_WEIGHTS = (".safetensors", ".bin", ".pt", ".gguf")


def fingerprint(path: str, revision: str | None) -> str:
    """Returns the digest of a model or adapter.

    Of a folder: its configuration, and the name, size, beginning and end of each file of weights. Of a repository: the
    commit that its files are of.
    """
    folder = Path(path)
    if not folder.is_dir():
        return f"{path}@{_commit(path, revision)}"
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.suffix in _WEIGHTS or file.name in ("config.json", "adapter_config.json"):
            digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
            digest.update(_edges(file))
    return digest.hexdigest()


def _edges(file: Path) -> bytes:
    with file.open("rb") as stream:
        start = stream.read(_EDGE)
        stream.seek(max(0, file.stat().st_size - _EDGE))
        return start + stream.read(_EDGE)


def _commit(path: str, revision: str | None) -> str:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(path, revision=revision)
    return str(getattr(config, "_commit_hash", None) or revision)
