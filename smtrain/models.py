"""The model section → the model, looked at: a hub repository, an S3 URI, a folder here or one on the target."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from smtrain import target_paths
from smtrain.errors import Problem, warning
from smtrain.sections import Model
from smtrain.spec import Json, ModelSource, ResolvedModel

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
"""Names that the Hugging Face hub accepts: NAME or ORG/NAME."""

WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt")


def resolve(model: Model) -> tuple[ResolvedModel, tuple[Problem, ...]]:
    """Returns what the model's reference stands for, and what is wrong with it."""
    return _look(model.path, MODEL)


def resolve_adapters(model: Model) -> tuple[tuple[ResolvedModel, ...], tuple[Problem, ...]]:
    """Returns what the adapters' references stand for, and what is wrong with them."""
    references = [text.strip() for text in (model.adapter or "").split(",")] if model.adapter else []
    looked = [_look(reference, ADAPTER) for reference in references]
    return tuple(found for found, _ in looked), tuple(problem for _, problems in looked for problem in problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """What a folder must hold to be one.

    Attributes:
      name: in words.
      key: of the setting that names it.
      config: its configuration file.
    """

    name: str
    key: str
    config: str


MODEL = _Kind(name="model", key="model.path", config="config.json")
ADAPTER = _Kind(name="adapter", key="model.adapter", config="adapter_config.json")


def _look(reference: str, kind: _Kind) -> tuple[ResolvedModel, tuple[Problem, ...]]:
    if target_paths.is_on_target(reference):
        found = ResolvedModel(reference=reference, source=ModelSource.TARGET)
        return found, tuple(target_paths.problems(reference, kind.key))
    if reference.startswith("s3://"):
        return ResolvedModel(reference=reference, source=ModelSource.S3), ()
    folder = Path(reference).expanduser()
    if folder.is_dir():
        problems = tuple(_folder_problems(reference, folder, kind))
        return ResolvedModel(
            reference=reference,
            source=ModelSource.FOLDER,
            fingerprint=_fingerprint(folder, kind),
            config={} if problems else _config(folder, kind),
            chat_template=_has_chat_template(folder),
        ), problems
    if REPOSITORY.fullmatch(reference) and not _looks_local(reference):
        return ResolvedModel(reference=reference, source=ModelSource.HUB), ()
    return ResolvedModel(reference=reference, source=ModelSource.FOLDER), (_absent(reference, folder, kind),)


def _looks_local(path: str) -> bool:
    """Whether the first part of ORG/NAME is a folder here, so that a folder was meant and misspelt."""
    first, slash, _ = path.partition("/")
    return bool(slash) and Path(first).is_dir()


def _absent(reference: str, folder: Path, kind: _Kind) -> Problem:
    what = f"There is no {kind.name} folder `{reference}`."
    if kind is ADAPTER:
        # An earlier run may be about to write it.
        return warning(kind.key, what, "It must be there when the run starts.")
    siblings = sorted(path.name for path in folder.parent.iterdir() if path.is_dir()) if folder.parent.is_dir() else []
    if siblings:
        fix = f"`{folder.parent}` has: {', '.join(siblings[:10])}."
    else:
        fix = f"Give a folder with {kind.config} and weights, a hub repository (ORG/NAME), or an s3:// URI."
    fix += target_paths.hint(reference)
    return Problem(key=kind.key, what=what, fix=fix)


def _folder_problems(reference: str, folder: Path, kind: _Kind) -> Iterator[Problem]:
    if not (folder / kind.config).is_file():
        what = f"The folder `{reference}` holds no {kind.config}, so it is no Hugging Face {kind.name}."
        yield Problem(key=kind.key, what=what, fix="Point to the folder that save_pretrained wrote.")
        return
    try:
        _config(folder, kind)
    except ValueError as error:
        yield Problem(key=kind.key, what=f"`{reference}/{kind.config}` is not valid JSON: {error}.")
    if not any(path.suffix in WEIGHTS for path in folder.iterdir()):
        what = f"The folder `{reference}` holds a {kind.config} but no weights ({', '.join(WEIGHTS)})."
        yield Problem(key=kind.key, what=what, fix="Finish the download or the copy.")


def _config(folder: Path, kind: _Kind) -> dict[str, Json]:
    return cast("dict[str, Json]", json.loads((folder / kind.config).read_text(encoding="utf-8")))


def _has_chat_template(folder: Path) -> bool | None:
    """Looks where transformers 5 does: files of the template alone, a folder of several, the tokenizer's config."""
    if any(
        (folder / name).exists() for name in ("chat_template.jinja", "chat_template.json", "additional_chat_templates")
    ):
        return True
    file = folder / "tokenizer_config.json"
    if not file.is_file():
        return None
    content = file.read_bytes()
    if b'"chat_template"' not in content:
        return False
    try:
        return bool(json.loads(content).get("chat_template"))
    except (ValueError, AttributeError):
        return None


def _fingerprint(folder: Path, kind: _Kind) -> str:
    """Digests the configuration with every file's name and size: weights are too large to be read at each compile."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
    config = folder / kind.config
    digest.update(config.read_bytes() if config.is_file() else b"")
    return digest.hexdigest()
