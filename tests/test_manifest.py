from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from smtrain.errors import SmtrainError
from smtrain.manifest import MANIFEST, identified, manifest_of, read, render
from smtrain.passes.emit import emit
from smtrain.spec import Bundle, BundleFile, Exec, LocalFile, Progress


def bundle(*files: BundleFile, name: str = "run") -> Bundle:
    return Bundle(
        name=name,
        backend="b",
        trainer="t",
        files=files,
        actions=(Exec(argv=("bash", "launch.sh"), workload=True),),
        progress=Progress(path="log.jsonl", step="step", total="total", metrics={"loss": "l"}),
    )


def text(path: str, content: str = "x") -> BundleFile:
    return BundleFile(path=path, content=content.encode())


def written(folder: Path, *files: BundleFile) -> Path:
    made = bundle(*files)
    return emit(made, manifest_of(made, "run-1", {}), folder / "run" / "bundle", store=folder / ".store")


def test_the_digest_depends_on_content_and_not_on_order_or_plugins() -> None:
    _, first = identified(bundle(text("a"), text("b")))
    assert first == identified(bundle(text("b"), text("a")))[1]
    assert first != identified(bundle(text("a"), text("b", "y")))[1]


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = bundle(text("a"), BundleFile(path="launch.sh", content=b"#!/bin/sh\n", executable=True))
    manifest = manifest_of(made, "run-1", {"p": "1"})
    folder = emit(made, manifest, tmp_path / "bundle", store=tmp_path / ".store")
    assert read(folder) == manifest
    assert (folder / "launch.sh").stat().st_mode & 0o111


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / "a").write_text("other"), "a was changed"),
        (lambda folder: (folder / "a").unlink(), "a is missing"),
        (lambda folder: (folder / "new").write_text("x"), "new was added"),
        (lambda folder: (folder / MANIFEST).write_text("{"), "is damaged"),
        (lambda folder: (folder / MANIFEST).write_text("[]"), "is damaged"),
        (lambda folder: (folder / MANIFEST).unlink(), "holds no manifest.json"),
    ],
)
def test_a_bundle_that_was_touched_is_refused(tmp_path: Path, damage: object, told: str) -> None:
    folder = written(tmp_path, text("a"))
    damage(folder)  # type: ignore[operator]
    with pytest.raises(SmtrainError) as raised:
        read(folder)
    assert told in str(raised.value)


def test_a_local_file_is_kept_once_for_many_bundles(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("{}\n")
    local = LocalFile(path=rows, sha256=hashlib.sha256(rows.read_bytes()).hexdigest(), size=3)
    first = written(tmp_path / "one", BundleFile(path="inputs/rows.jsonl", content=local))
    made = bundle(BundleFile(path="inputs/rows.jsonl", content=local), text("b"))
    second = emit(made, manifest_of(made, "run-1", {}), tmp_path / "two", store=tmp_path / "one" / ".store")
    assert (first / "inputs/rows.jsonl").samefile(second / "inputs/rows.jsonl")
    rows.write_text("changed\n")
    assert (first / "inputs/rows.jsonl").read_text() == "{}\n"


def test_writing_the_same_bundle_again_leaves_it_alone(tmp_path: Path) -> None:
    folder = written(tmp_path, text("a"))
    before = (folder / "a").stat().st_ino
    assert written(tmp_path, text("a")) == folder
    assert (folder / "a").stat().st_ino == before


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file is in the way")
    with pytest.raises(SmtrainError) as raised:
        written(tmp_path, text("a"))
    assert "Cannot write the bundle" in str(raised.value)


def test_the_manifest_is_stable_text() -> None:
    assert render(manifest_of(bundle(text("a")), "run-1", {"z": "1", "a": "2"})).index('"a": "2"') < render(
        manifest_of(bundle(text("a")), "run-1", {"z": "1", "a": "2"})
    ).index('"z": "1"')
