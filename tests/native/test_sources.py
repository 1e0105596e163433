"""A data set's files: named one by one, or a folder that holds them."""

from __future__ import annotations

from pathlib import Path

import pytest
from native_sets import sft_rows, sft_set, write_lines
from smtrain_native.runtime.data_errors import DataError
from smtrain_native.runtime.sources import sources


def places(folder: Path) -> list[str]:
    """Returns where each row of a data set of this folder is."""
    (*found,) = sources(sft_set(folder.relative_to(folder.parent)), folder.parent)
    return [place for source in found for chunk in source.chunks() for place, _ in chunk.rows()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "rows"
    made.mkdir()
    return made


def test_a_folder_is_its_files_by_name(folder: Path):
    for name in ("b.jsonl", "a.jsonl", "c.JSONL"):
        write_lines(folder / name, sft_rows(2))
    assert places(folder) == [f"{name} line {line}" for name in ("a.jsonl", "b.jsonl", "c.JSONL") for line in (1, 2)]


def test_what_is_hidden_or_of_no_known_suffix_is_left_out(folder: Path):
    write_lines(folder / "rows.jsonl", sft_rows(1))
    for name in (".rows.jsonl", "_SUCCESS", "README.md", "rows.jsonl.tmp", ".gz", "rows.txt"):
        (folder / name).write_text("not rows")
    (folder / "more.jsonl").mkdir()
    assert places(folder) == ["rows.jsonl line 1"]


def test_a_linked_folder_and_linked_files_are_read(folder: Path, tmp_path: Path):
    (folder / "linked.jsonl").symlink_to(write_lines(tmp_path / "elsewhere.jsonl", sft_rows(1)))
    (tmp_path / "link").symlink_to(folder)
    assert places(tmp_path / "link") == ["linked.jsonl line 1"]


def test_a_folder_without_rows_is_an_error_that_says_what_it_looked_for(folder: Path):
    (folder / "notes.md").write_text("no rows")
    with pytest.raises(DataError, match=r"data set rows: the folder .*/rows has no file of rows \(json, jsonl, "):
        places(folder)


def test_a_file_in_a_folder_counts_by_content_not_by_name(folder: Path, tmp_path: Path):
    write_lines(folder / "a.jsonl", sft_rows(2))
    before = [source.content(tmp_path) for source in sources(sft_set(folder), Path())]
    (folder / "a.jsonl").rename(folder / "z.jsonl")
    assert [source.content(tmp_path) for source in sources(sft_set(folder), Path())] == before
    write_lines(folder / "z.jsonl", sft_rows(3))
    assert [source.content(tmp_path) for source in sources(sft_set(folder), Path())] != before
