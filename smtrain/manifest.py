"""The manifest of a bundle: what it holds, by digest, and what submitting it does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import msgspec

from smtrain import actions
from smtrain.errors import fail
from smtrain.naming import named
from smtrain.spec import Action, Bundle, BundleFile, Cost, Json, LocalFile, Progress

MANIFEST = "manifest.json"
FORMAT = 2
"""Version of the manifest's layout."""

DIGEST_LENGTH = 10
"""Hex digits of the digest in a run's name: 40 bits, so that even a million runs hardly ever clash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What `manifest.json` says of a bundle.

    Attributes:
      run_id: `<name>-<digest>`, with the number of the attempt behind it when that is not the first.
      backend: the backend's name.
      trainer: the trainer's name.
      files: path → (sha256, size in bytes, whether executable).
      actions: what submitting does, in order.
      progress: where the running program reports its progress.
      cost: what it costs.
      plugins: distribution → version, of everything that had a hand in it.
    """

    run_id: str
    backend: str
    trainer: str
    files: Mapping[str, tuple[str, int, bool]]
    actions: tuple[Action, ...]
    progress: Progress | None
    cost: Cost | None
    plugins: Mapping[str, str]


def identified(bundle: Bundle, attempt: int = 1) -> tuple[Bundle, str]:
    """Returns the bundle, told its run's id, and that id.

    Args:
      bundle: the bundle, with `RUN_ID` wherever it names its run.
      attempt: which run of this bundle it is.
    """
    identity = {"files": _entries(bundle), "actions": [actions.as_json(action) for action in bundle.actions]}
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:DIGEST_LENGTH]
    run_id = f"{bundle.name}-{digest}" if attempt == 1 else f"{bundle.name}-{digest}-{attempt}"
    return named(bundle, run_id), run_id


def manifest_of(bundle: Bundle, run_id: str, plugins: Mapping[str, str]) -> Manifest:
    """Returns the manifest of a bundle.

    Args:
      bundle: the bundle, told its run's id.
      run_id: that id.
      plugins: distribution → version.
    """
    return Manifest(
        run_id=run_id,
        backend=bundle.backend,
        trainer=bundle.trainer,
        files=_entries(bundle),
        actions=bundle.actions,
        progress=bundle.progress,
        cost=bundle.cost,
        plugins=dict(sorted(plugins.items())),
    )


def render(manifest: Manifest) -> str:
    """Returns the manifest as JSON."""
    document = {
        "format": FORMAT,
        "run_id": manifest.run_id,
        "backend": manifest.backend,
        "trainer": manifest.trainer,
        "plugins": manifest.plugins,
        "actions": [actions.as_json(action) for action in manifest.actions],
        "progress": asdict(manifest.progress) if manifest.progress else None,
        "cost": asdict(manifest.cost) if manifest.cost else None,
        "files": {
            path: {"sha256": sha256, "size": size, "executable": executable}
            for path, (sha256, size, executable) in manifest.files.items()
        },
    }
    return json.dumps(document, indent=2) + "\n"


def read(folder: Path) -> Manifest:
    """Reads a bundle's manifest and proves that the bundle still is what it says.

    Raises:
      SmtrainError: there is none, or a file was changed, lost or added.
    """
    path = folder / MANIFEST
    try:
        document = cast("dict[str, Json]", json.loads(path.read_text(encoding="utf-8")))
        manifest = _parse(document)
    except FileNotFoundError as error:
        what = f"`{folder}` holds no {MANIFEST}, so it is no bundle."
        raise fail(what, "Give the folder that plan named.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise fail(what=f"`{path}` is damaged: {error}.", fix="Write the bundle again with `smtrain plan`.") from error
    changed = sorted(_changed(folder, manifest))
    if changed:
        what = f"The bundle `{folder}` is not what was compiled: {', '.join(changed)}."
        raise fail(what, "Change the configuration and compile again, rather than the bundle.")
    return manifest


def _parse(document: Mapping[str, Json]) -> Manifest:
    if document.get("format") != FORMAT:
        message = f"format {document.get('format')} is not {FORMAT}"
        raise ValueError(message)
    entries = cast("dict[str, dict[str, Json]]", document["files"])
    return Manifest(
        run_id=str(document["run_id"]),
        backend=str(document["backend"]),
        trainer=str(document["trainer"]),
        files={
            path: (str(entry["sha256"]), int(cast(int, entry["size"])), bool(entry["executable"]))
            for path, entry in entries.items()
        },
        actions=tuple(map(actions.from_json, cast("list[dict[str, Json]]", document["actions"]))),
        progress=msgspec.convert(document["progress"], Progress | None),
        cost=msgspec.convert(document["cost"], Cost | None),
        plugins=cast("dict[str, str]", document["plugins"]),
    )


def _changed(folder: Path, manifest: Manifest) -> Iterable[str]:
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {MANIFEST}
    yield from (f"{path} was added" for path in there - set(manifest.files))
    for path, (sha256, _, _) in manifest.files.items():
        if path not in there:
            yield f"{path} is missing"
        else:
            with (folder / path).open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != sha256:
                    yield f"{path} was changed"


def _entries(bundle: Bundle) -> dict[str, tuple[str, int, bool]]:
    return {file.path: (*_digest(file), file.executable) for file in sorted(bundle.files, key=lambda file: file.path)}


def _digest(file: BundleFile) -> tuple[str, int]:
    if isinstance(file.content, LocalFile):
        return file.content.sha256, file.content.size
    return hashlib.sha256(file.content).hexdigest(), len(file.content)
