from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from smtrain.errors import ExitCode, SmtrainError
from smtrain.manifest import Manifest, manifest_of, read
from smtrain.passes.emit import emit
from smtrain.spec import Bundle, BundleFile, LocalFile


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("one\n")
    return path


@pytest.fixture
def bundle(rows: Path) -> Bundle:
    digest = hashlib.sha256(rows.read_bytes()).hexdigest()
    local = LocalFile(path=rows, sha256=digest, size=rows.stat().st_size)
    files = (BundleFile(path="launch.sh", content=b"true\n"), BundleFile(path="inputs/rows.jsonl", content=local))
    return Bundle(name="probe", backend="local", trainer="probe", files=files, actions=())


def written(bundle: Bundle, folder: Path) -> Manifest:
    manifest = manifest_of(bundle, "run-1", {})
    emit(bundle, manifest, folder / "run" / "bundle", store=folder / ".store")
    return manifest


@pytest.mark.parametrize("name", ["launch.sh", "inputs/rows.jsonl"])
def test_a_bundle_that_was_changed_is_written_again(name: str, bundle: Bundle, tmp_path: Path) -> None:
    manifest = written(bundle, tmp_path)
    path = tmp_path / "run" / "bundle" / name
    path.chmod(0o644)
    with path.open("a") as stream:  # in place: the store's copy is the same file
        stream.write("evil")
    assert written(bundle, tmp_path) == manifest
    assert read(tmp_path / "run" / "bundle") == manifest


def test_a_bundle_that_is_there_is_left_alone(bundle: Bundle, tmp_path: Path) -> None:
    written(bundle, tmp_path)
    before = (tmp_path / "run" / "bundle").stat().st_ino
    written(bundle, tmp_path)
    assert (tmp_path / "run" / "bundle").stat().st_ino == before


def test_a_bundle_that_cannot_be_written_leaves_nothing(bundle: Bundle, rows: Path, tmp_path: Path) -> None:
    rows.unlink()  # stands for a disk that fills up while the rows are copied
    with pytest.raises(SmtrainError) as caught:
        written(bundle, tmp_path)
    assert caught.value.exit_code is ExitCode.MISSING_HERE
    assert not (tmp_path / "run").exists()
    assert list((tmp_path / ".store").iterdir()) == []
