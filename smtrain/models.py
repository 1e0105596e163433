"""The model section → the model, looked at: a hub repository, an S3 URI, or a folder of this machine."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from smtrain.errors import Problem
from smtrain.sections import Model
from smtrain.spec import Json, ModelSource, ResolvedModel

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
"""Names that the Hugging Face hub accepts: NAME or ORG/NAME."""

WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt")


def resolve(model: Model) -> tuple[ResolvedModel, tuple[Problem, ...]]:
    """Returns what the reference stands for, and what is wrong with it."""
    folder = Path(model.path).expanduser()
    if model.path.startswith("s3://"):
        return ResolvedModel(reference=model.path, source=ModelSource.S3), ()
    if folder.is_dir():
        problems = tuple(_folder_problems(model.path, folder))
        config = _config(folder) if not problems else {}
        found = ResolvedModel(
            reference=model.path, source=ModelSource.FOLDER, fingerprint=_fingerprint(folder), config=config
        )
        return found, problems
    hub = ResolvedModel(reference=model.path, source=ModelSource.HUB)
    if REPOSITORY.fullmatch(model.path) and not _looks_local(model.path):
        return hub, ()
    return hub, (_absent(model.path, folder),)


def _looks_local(path: str) -> bool:
    """Whether the first part of ORG/NAME is a folder here, so that a folder was meant and misspelt."""
    first, slash, _ = path.partition("/")
    return bool(slash) and Path(first).is_dir()


def _absent(reference: str, folder: Path) -> Problem:
    what = f"There is no model folder `{reference}`."
    siblings = sorted(path.name for path in folder.parent.iterdir() if path.is_dir()) if folder.parent.is_dir() else []
    if siblings:
        fix = f"`{folder.parent}` has: {', '.join(siblings[:10])}."
    else:
        fix = "Give a folder with config.json and weights, a hub repository (ORG/NAME), or an s3:// URI."
    return Problem(key="model.path", what=what, fix=fix)


def _folder_problems(reference: str, folder: Path) -> Iterator[Problem]:
    if not (folder / "config.json").is_file():
        what = f"The folder `{reference}` holds no config.json, so it is no Hugging Face model."
        yield Problem(key="model.path", what=what, fix="Point to the folder that save_pretrained wrote.")
        return
    try:
        json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        yield Problem(key="model.path", what=f"`{reference}/config.json` is not valid JSON: {error}.")
    if not any(path.suffix in WEIGHTS for path in folder.iterdir()):
        what = f"The folder `{reference}` holds a config.json but no weights ({', '.join(WEIGHTS)})."
        yield Problem(key="model.path", what=what, fix="Finish the download or the copy.")


def _config(folder: Path) -> dict[str, Json]:
    return cast("dict[str, Json]", json.loads((folder / "config.json").read_text(encoding="utf-8")))


def _fingerprint(folder: Path) -> str:
    """Digests config.json with every file's name and size: weights are too large to be read at each compile."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
    config = folder / "config.json"
    digest.update(config.read_bytes() if config.is_file() else b"")
    return digest.hexdigest()
