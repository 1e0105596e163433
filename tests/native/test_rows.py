"""Each case is a real file in a format that a user may have."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smtrain_native.runtime.data_errors import DataError
from smtrain_native.runtime.rows import SUFFIXES, chunks

Row = dict[str, object]

ROWS: list[Row] = [
    {"prompt": "Naïve café?\n", "response": "日本語 🙂 \u2028 one line"},
    {"prompt": 'zwei, "drei"\n', "response": "line\nbreak\r\nand\ttab"},
    {"prompt": "", "response": "x" * 300_000},
    {"prompt": "nul", "response": "a\x00b"},
]


def write_json(path: Path, rows: list[Row]) -> None:
    path.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def write_lines(path: Path, rows: list[Row]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_csv(path: Path, rows: list[Row]) -> None:
    import csv

    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path: Path, rows: list[Row]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.Table.from_pylist(rows), path)


def write_arrow(path: Path, rows: list[Row]) -> None:
    import pyarrow as pa

    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)


def write_pt(path: Path, rows: list[Row]) -> None:
    import torch

    torch.save(rows, path)


WRITERS: dict[str, Callable[[Path, list[Row]], None]] = {
    "json": write_json,
    "jsonl": write_lines,
    "csv": write_csv,
    "parquet": write_parquet,
    "arrow": write_arrow,
    "pt": write_pt,
}


def gzipped(path: Path) -> Path:
    packed = path.with_name(f"{path.name}.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    return packed


def read(path: Path, chunk_bytes: int = 1 << 16) -> list[Row]:
    return [row for chunk in chunks(path, chunk_bytes) for _, row in chunk.rows()]


def places(path: Path, chunk_bytes: int = 1 << 16) -> list[str]:
    return [place for chunk in chunks(path, chunk_bytes) for place, _ in chunk.rows()]


def test_every_format_is_written_here():
    assert set(WRITERS) == set(SUFFIXES)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_rows_come_back_as_they_were_written(tmp_path: Path, suffix: str, packed: bool):
    path = tmp_path / f"rows.{suffix}"
    WRITERS[suffix](path, ROWS)
    assert read(gzipped(path) if packed else path) == ROWS


def test_a_stream_of_arrow_is_read_as_a_file_of_arrow_is(tmp_path: Path):
    import pyarrow as pa

    table = pa.Table.from_pylist(ROWS)
    with pa.ipc.new_stream(str(tmp_path / "rows.arrow"), table.schema) as writer:
        writer.write_table(table)
    assert read(tmp_path / "rows.arrow") == ROWS


def test_pt_may_hold_columns_instead_of_rows(tmp_path: Path):
    import torch

    torch.save({"prompt": ["a", "b"], "response": ["c", "d"]}, tmp_path / "rows.pt")
    assert read(tmp_path / "rows.pt") == [{"prompt": "a", "response": "c"}, {"prompt": "b", "response": "d"}]


def test_pt_does_not_run_what_is_pickled_in_it(tmp_path: Path):
    import torch

    torch.save([{"prompt": Path("not text")}], tmp_path / "rows.pt")
    with pytest.raises(DataError, match=r"rows\.pt: torch cannot load it as plain data"):
        read(tmp_path / "rows.pt")


# ----------------------------------------------------------------------------------------------------------------- JSON


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}\n{"a": 2}\n',
        '{"a": 1}\r\n\r\n{"a": 2}',
        '\ufeff{"a": 1}\n\n  \n{"a": 2}\n',
        '[{"a": 1}, {"a": 2}]',
        '\ufeff\n\n [\n{"a": 1}\n,\n{"a": 2}\n]\n\n',
        '{\n "a": 1\n}\n{\n "a": 2\n}\n',
        '{"a": 1}{"a": 2}',
    ],
    ids=["lines", "crlf", "bom-lines", "array", "bom-array", "objects", "objects-on-a-line"],
)
def test_json_is_an_array_or_objects_whatever_the_layout(tmp_path: Path, text: str):
    (tmp_path / "rows.json").write_text(text, encoding="utf-8", newline="")
    assert read(tmp_path / "rows.json") == [{"a": 1}, {"a": 2}]


def test_jsonl_that_holds_an_array_is_read(tmp_path: Path):
    write_json(tmp_path / "rows.jsonl", ROWS)
    assert read(tmp_path / "rows.jsonl") == ROWS


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_an_empty_file_has_no_rows(tmp_path: Path, name: str):
    (tmp_path / name).write_text(" \n\n")
    assert read(tmp_path / name) == []


def test_an_empty_array_has_no_rows(tmp_path: Path):
    (tmp_path / "rows.json").write_text("[ ]")
    assert read(tmp_path / "rows.json") == []


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("r.jsonl", b'{"a": 1}\n{"a": \n{"a": 3}\n', "r.jsonl line 2: not JSON: Expecting value, at column"),
        ("r.jsonl", b'{"a": 1}\n\n[1]\n', "r.jsonl line 3: a row must be an object with columns, not list"),
        ("r.jsonl", b'{"a": 1}\n{"a": "\xff"}\n', "r.jsonl line 2: not UTF-8: byte 0xff at column 8"),
        ("r.jsonl", b'{"a": ' + b"[" * 100_000, "r.jsonl line 1: nested too deeply"),
        ("r.json", b'[{"a": 1},\n{"a": 2}\n', "r.json line 3: not JSON: the array is not closed"),
        ("r.json", b'[{"a": 1},\n{"a": 2},\n]', "r.json line 3: not JSON: a comma after the last row"),
        ("r.json", b'[{"a": 1}\n{"a": 2}]', "r.json line 2: not JSON: the array goes on with neither a comma nor ]"),
        ("r.json", b'[{"a": 1}]\n{"a": 2}', "r.json line 2: not JSON: something follows the rows"),
        ("r.json", b'[{"a": 1},\n{"a": "unclosed}]', "r.json line 2: not JSON: Unterminated string"),
        ("r.json", b'[{"a": 1},\n2]', "r.json row 2: a row must be an object with columns, not int"),
        ("r.json", b'[{"a": 1},\n{"a" 2}]', "r.json line 2: not JSON: Expecting ':' delimiter"),
        ("r.json", b'[{"a": "\xff"}]', "r.json, after line 1: not UTF-8"),
        ("r.json", b'[{"a": ' + b"[" * 100_000, "r.json line 1: not JSON: nested too deeply"),
        ("r.csv", b'a,b\n1,2\n"3,4\n', "r.csv line 3: unexpected end of data"),
        ("r.csv", b"a,b\n1,2\n3\n", "r.csv line 3: 1 cells under a header of 2"),
        ("r.csv", b"a,b\n1,\xff\n", "r.csv, after line"),
        ("r.parquet", b"PAR1 not at all", "r.parquet: not what its suffix says"),
        ("r.arrow", b"ARROW1 not at all", "r.arrow: not what its suffix says"),
        ("r.pt", b"not at all", "r.pt: torch cannot load it"),
        ("r.jsonl.gz", b"not at all", "r.jsonl.gz: the gzip file is broken"),
        ("r.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 9, mtime=0)[:-9], "r.jsonl.gz: the gzip file is broken"),
        ("r.parquet.gz", gzip.compress(b"PAR1 not at all", mtime=0), "r.parquet.gz: not what its suffix says"),
        ("r.xlsx", b"", "r.xlsx: cannot tell the format from the name"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, name: str, content: bytes, says: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(tmp_path / name)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_gone_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"gone\.jsonl: No such file"):
        read(tmp_path / "gone.jsonl")


@given(
    rows=st.lists(st.dictionaries(st.text(max_size=3), st.text(max_size=40) | st.integers() | st.none(), max_size=3)),
    indent=st.sampled_from([None, 0, 2]),
    escaped=st.booleans(),
)
def test_any_array_is_read_as_json_reads_it(tmp_path: Path, rows: list[Row], indent: int | None, escaped: bool):
    text = json.dumps(rows, indent=indent, ensure_ascii=escaped)
    (tmp_path / "rows.json").write_bytes(text.encode(errors="surrogatepass" if escaped else "ignore"))
    assert read(tmp_path / "rows.json") == json.loads((tmp_path / "rows.json").read_bytes())


@pytest.mark.parametrize("window", [1, 2, 7, 64])
def test_an_array_is_read_whatever_part_of_it_is_in_memory(
    tmp_path: Path, window: int, monkeypatch: pytest.MonkeyPatch
):
    from smtrain_native.runtime import json_rows

    monkeypatch.setattr(json_rows, "_WINDOW", window)
    rows = [{"long": "l" * 5000, "a": 'x\\"y\n', "b": [1.5, {"c": None}], "d": "🙂"}, {}, {"e": True}]
    (tmp_path / "rows.json").write_text(json.dumps(rows, indent=1))
    assert read(tmp_path / "rows.json") == rows


# --------------------------------------------------------------------------------------------------- chunks and memory


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_chunks_of_any_size_give_the_same_rows_and_places(tmp_path: Path, suffix: str):
    path = tmp_path / f"rows.{suffix}"
    WRITERS[suffix](path, [{"prompt": f"{number}\n", "response": "x" * (number % 7)} for number in range(3000)])
    assert read(path, 1) == read(path, 1 << 30)
    assert places(path, 999) == places(path, 1 << 30)


def test_places_count_lines_in_jsonl_and_rows_in_an_array(tmp_path: Path):
    (tmp_path / "r.jsonl").write_text('\n{"a": 1}\n\n{"a": 2}\n')
    (tmp_path / "r.json").write_text('[\n{"a": 1},\n\n{"a": 2}]')
    assert places(tmp_path / "r.jsonl", 1) == ["r.jsonl line 2", "r.jsonl line 4"]
    assert places(tmp_path / "r.json", 1) == ["r.json row 1", "r.json row 2"]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.jsonl.gz"])
def test_a_large_file_is_never_held_whole(tmp_path: Path, name: str):
    row = json.dumps({"prompt": "p" * 1000, "response": "r" * 1000})
    count = 15_000
    text = f"[{','.join([row] * count)}]" if name == "rows.json" else f"{row}\n" * count
    content = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(content, 1) if name.endswith(".gz") else content)
    size = len(content)
    del text, content
    tracemalloc.start()
    seen = sum(1 for chunk in chunks(tmp_path / name, 1 << 18) for _ in chunk.rows())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen == count
    assert peak < size / 3
