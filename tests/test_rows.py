"""Each case is a real file; the verdict on it is held against the real loader, where that is installed."""

from __future__ import annotations

import gzip
import importlib.util
import io
import json
import os
import subprocess
import sys
import textwrap
import time
import tracemalloc
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtrain.errors import Severity
from smtrain.rows import SUFFIXES, read, read_files

needs_pyarrow = pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed")
needs_loader = pytest.mark.skipif(importlib.util.find_spec("datasets") is None, reason="datasets is not installed")


def lines(*rows: object) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def array(*rows: object) -> bytes:
    return json.dumps(rows).encode()


@dataclass(frozen=True)
class Case:
    """A file, what must be said about it, and whether the loader itself would say nothing."""

    suffix: str
    content: bytes
    says: str = ""
    silent: bool = False


MIXED: tuple[tuple[str, object, object, str], ...] = (
    ("string_list", {"a": "x"}, {"a": ["y"]}, "`a` is a list, but a string at"),
    ("list_string", {"a": ["y"]}, {"a": "x"}, "`a` is a string, but a list at"),
    ("string_object", {"a": "x"}, {"a": {"b": 1}}, "`a` is an object, but a string at"),
    ("string_integer", {"a": "x"}, {"a": 1}, "`a` is an integer, but a string at"),
    ("integer_numeral", {"a": 1}, {"a": "2"}, "`a` is a string, but an integer at"),
    ("integer_boolean", {"a": 1}, {"a": True}, "`a` is a boolean, but an integer at"),
    ("boolean_word", {"a": True}, {"a": "true"}, "`a` is a string, but a boolean at"),
    ("nested", {"a": {"b": 1}}, {"a": {"b": "x"}}, "`a.b` is a string, but an integer at"),
    ("in_list", {"a": [{"v": "x"}]}, {"a": [{"v": {"k": 1}}]}, "`a[].v` is an object, but a string at"),
    ("list_items", {"a": ["x", 1]}, {"a": ["x"]}, "`a[]` is an integer, but a string at"),
    ("integer_float", {"a": 1}, {"a": 1.5}, ""),
    ("null_list", {"a": None}, {"a": ["y"]}, ""),
    ("null_boolean", {"a": None}, {"a": True}, ""),
    ("nested_keys", {"a": {"b": 1}}, {"a": {"c": "x"}}, ""),
    ("list_object_keys", {"a": [{"b": 1}]}, {"a": [{"c": "x"}]}, ""),
    ("empty_list", {"a": []}, {"a": ["x"]}, ""),
    ("other_columns", {"a": "x"}, {"b": "y"}, ""),
    ("date_and_text", {"a": "2024-01-01"}, {"a": "x"}, ""),
    ("nul_escaped", {"a": "x\0y"}, {"a": ""}, ""),
)
LONG = lines(*({"a": "x" * 1000} for _ in range(10_600)))

CASES: dict[str, Case] = {
    **{f"lines_{name}": Case("jsonl", lines(one, two), says) for name, one, two, says in MIXED},
    **{f"array_{name}": Case("json", array(one, two), says) for name, one, two, says in MIXED},
    "lines_in_json": Case("json", lines({"a": "x"})),
    "array_in_jsonl": Case("jsonl", array({"a": "x"})),
    "pretty_object": Case("json", b'{\n "a": "x"\n}\n'),
    "pretty_objects": Case("json", b'{\n "a": "x"\n}\n{\n "a": "y"\n}\n'),
    "objects_on_a_line": Case("jsonl", b'{"a": "x"} {"a": "y"}\n'),
    "carriage_returns": Case("jsonl", b'{"a": "x"}\r{"a": "y"}\r'),
    "crlf_and_blank_lines": Case("jsonl", b'\r\n{"a": "x"}\r\n\r\n \r\n{"a": "y"}\r\n'),
    "blank_lines_between": Case("jsonl", b'{"a": "x"}\n\n\n \n{"a": "y"}'),
    "line_separator": Case("jsonl", '{"a": "x\u2028y"}\n'.encode()),
    "strings": Case("json", array("x", "y")),
    "string_lines": Case("jsonl", lines("x", "y"), "line 1: the row is a string, not an object (2 such lines in all)."),
    "string_among_objects": Case("json", array({"a": "x"}, "y"), "row 2: the row is a string, not an object."),
    "null_line_first": Case("jsonl", lines(None, {"a": "x"}), "line 1: the row is null, not an object."),
    "null_line_later": Case("jsonl", lines({"a": "x"}, None), "line 2: the row is null, not an object.", silent=True),
    "null_document": Case("json", b"null", "the row is null, not an object."),
    "number_document": Case("json", b"3", "the row is an integer, not an object."),
    "empty_array": Case("json", b"[]", "there are no rows."),
    "blank_lines_only": Case("jsonl", b"\n\n", "there are no rows."),
    "trailing_comma": Case("json", b'[{"a": "x"},]', "line 1: not valid JSON: "),
    "commas_between_lines": Case(
        "jsonl", b'{"a": "x"},\n{"a": "y"},\n', "line 1: not valid JSON: Extra data, column 11"
    ),
    "cut_off_array": Case("json", b'[{"a": "x"},\n {"a"', "line 2: not valid JSON: Expecting ':' delimiter, column 6."),
    "cut_off_line": Case(
        "jsonl", b'{"a": "x"}\n{"a": "y', "line 2: not valid JSON: Unterminated string starting at, column 7"
    ),
    "single_quotes": Case("jsonl", b"{'a': 'x'}\n", "line 1: not valid JSON: "),
    "array_lines": Case("jsonl", b'[{"a": "x"}]\n[{"a": "y"}]\n', "line 2: not valid JSON: Extra data, column 1."),
    "raw_tab_in_line": Case("jsonl", b'{"a": "x\ty"}\n', "not valid JSON: Invalid control character at, column 9."),
    "raw_tab_in_array": Case("json", b'[{"a": "x\ty"}]'),
    "column_twice_in_line": Case("jsonl", b'{"a": "x", "a": "y"}\n', "the name `a` appears twice"),
    "column_twice_in_array": Case("json", b'[{"a": "x", "a": "y"}]'),
    "field_twice_in_line": Case("jsonl", b'{"a": {"b": 1, "b": 2}}\n', "the name `b` appears twice", silent=True),
    "lone_surrogate_in_line": Case("jsonl", b'{"a": "x\\ud800y"}\n', "a lone surrogate"),
    "whole_surrogate_in_line": Case("jsonl", b'{"a": "\\ud83d\\ude00"}\n'),
    "nan_in_text_line": Case("jsonl", b'{"a": "x"}\n{"a": NaN}\n', "`a` is a number, but a string at"),
    "nan_in_text_array": Case("json", b'[{"a": "x"}, {"a": NaN}]'),
    "marked_lines": Case("jsonl", b"\xef\xbb\xbf" + lines({"a": "x"})),
    "marked_array": Case("json", b"\xef\xbb\xbf" + array({"a": "x"}), "a byte order mark before a JSON array"),
    "utf16_lines": Case(
        "jsonl", '{"a": "x"}\n'.encode("utf-16"), "the file is not UTF-8: byte 0xff at offset 0; it looks like UTF-16."
    ),
    "utf16_unmarked": Case("json", '[{"a": "x"}]'.encode("utf-16-le"), "it looks like UTF-16."),
    "latin1_lines": Case(
        "jsonl",
        b'{"a": "x"}\n{"a": "caf\xe9 au lait"}\n',
        "line 2: the file is not UTF-8: byte 0xe9 at offset 21; it looks like Windows-1252.",
    ),
    "gbk_array": Case("json", '[{"a": "今天天气很好"}]'.encode("gbk"), "it looks like GB18030."),
    "nul_in_line": Case("jsonl", b'{"a": "x"}\n{"a": "x\0y"}\n', "line 2: a NUL byte at offset 19."),
    "column_only_after_first_chunk": Case(
        "jsonl", LONG + lines({"a": "x", "b": "y"}), "column `b` is new, and absent from the first"
    ),
    "type_only_after_first_chunk": Case(
        "jsonl",
        lines(*({"a": None, "p": "x" * 1000} for _ in range(10_600)), {"a": "z"}),
        "`a` is a string, but null in the first",
    ),
    "fewer_columns_after_first_chunk": Case("jsonl", lines({"b": "y"}) + LONG),
    "csv": Case("csv", b'a,b\n"x\ny",z\n\nx,"say ""y"""\n'),
    "csv_marked": Case("csv", b"\xef\xbb\xbfa,b\nx,y\n"),
    "csv_mixed_cells": Case("csv", b"a,b\n1,y\nz,\n"),
    "csv_header_only": Case("csv", b"a,b\n", "there are no rows."),
    "csv_blank": Case("csv", b"\n\n", "there is no header."),
    "csv_long_row": Case("csv", b"a,b\nx,y\nx,y,z\n", "line 3: more cells than the header (1 such rows in all)."),
    "csv_long_first_row": Case(
        "csv", b"a,b\nx,y,z\nx,y,z\n", "line 2: the first row has more cells than the header", silent=True
    ),
    "csv_short_row": Case("csv", b"a,b\nx,y\nx\n"),
    "csv_header_twice": Case("csv", b"a,a\nx,y\n"),
    "csv_open_quote": Case("csv", b'a,b\nz,w\n"x,y\n', "a quote is opened and never closed."),
    "csv_latin1": Case("csv", "a,b\ncafé,y\n".encode("latin-1"), "it looks like Windows-1252."),
    "csv_nul": Case("csv", b"a,b\nx\0y,z\n", "line 2: a NUL byte at offset 5.", silent=True),
    "csv_late_text": Case(
        "csv", b"a,b\n" + b"1,x\n" * 10_000 + b"q,z\n", "`a` is a string, but an integer in the first 10000 rows"
    ),
    "csv_text_in_first_chunk": Case("csv", b"a,b\n" + b"1,x\n" * 5_000 + b"q,z\n"),
    "txt": Case("txt", "x\n\ny\r\nz\u2028w\x0bv".encode()),
    "txt_marked": Case("txt", b"\xef\xbb\xbfx\n"),
    "txt_latin1": Case("txt", b"caf\xe9\n", "it looks like Windows-1252."),
    "txt_nul": Case("txt", b"x\0y\n", "a NUL byte at offset 1.", silent=True),
    **{f"empty_{suffix}": Case(suffix, b"", "the file is empty.") for suffix in SUFFIXES},
}

LOADER = """
    import json, os, sys
    import datasets
    datasets.disable_progress_bar()
    datasets.utils.logging.set_verbosity(60)
    loaders = json.loads(sys.argv[2])
    for name in sys.stdin.read().split():
        suffix = name.rpartition(".")[2]
        reader, writer = os.pipe()
        if not os.fork():  # some files crash pyarrow
            try:
                found = datasets.load_dataset(loaders[suffix], data_files=[name], split="train", cache_dir=sys.argv[1])
                os.write(writer, json.dumps([len(found), found.column_names, found[:3]], default=str).encode())
            except Exception as error:
                pass
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as stream:
            answer = stream.read()
        os.wait()
        print(json.dumps([name, json.loads(answer) if answer else None]), flush=True)
"""


def load_for_real(paths: list[Path], cache: Path) -> dict[str, tuple[int, list[str], dict[str, list[object]]] | None]:
    """Returns rows, columns and the first three rows by file name as `datasets` loads them; None where it fails."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LOADER), str(cache), json.dumps(dict(SUFFIXES))],
        input="\n".join(map(str, paths)),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(cache)},
    )
    return {Path(name).stem: answer for name, answer in map(json.loads, done.stdout.splitlines())}


def errors(path: Path, limit: int | None = None) -> list[str]:
    return [
        f"{problem.place}: {problem.what}"
        for problem in read(path, limit=limit).problems
        if problem.severity is Severity.ERROR
    ]


def put(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", CASES)
def test_a_file_is_refused_for_what_is_wrong_with_it_and_for_nothing_else(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    if case.suffix in {"parquet", "arrow"}:
        pytest.importorskip("pyarrow")
    found = errors(put(tmp_path, f"{name}.{case.suffix}", case.content))
    assert bool(found) == bool(case.says), found
    assert all(f"{name}.{case.suffix}" in text for text in found)
    assert any(case.says in text for text in found) or not case.says, found


@needs_loader
def test_the_real_loader_takes_what_we_take_and_refuses_what_we_refuse(tmp_path: Path) -> None:
    paths = {name: put(tmp_path, f"{name}.{case.suffix}", case.content) for name, case in CASES.items()}
    real = load_for_real(list(paths.values()), tmp_path / "cache")
    refused = {name for name, answer in real.items() if answer is None}
    assert refused == {name for name, case in CASES.items() if case.says and not case.silent}


@needs_loader
def test_the_real_loader_sees_the_same_rows(tmp_path: Path) -> None:
    taken = {name: case for name, case in CASES.items() if not case.says}
    paths = {name: put(tmp_path, f"{name}.{case.suffix}", case.content) for name, case in taken.items()}
    real = load_for_real(list(paths.values()), tmp_path / "cache")
    for name, path in paths.items():
        sample, answer = read(path, limit=3), real[name]
        assert answer is not None
        total, columns, values = answer
        assert sample.total == total, name
        assert set(sample.columns) <= set(columns), name
        for column in sample.columns:
            ours = [row.get(column) for row in sample.rows]
            assert json_equal(ours, values[column]), name


def json_equal(ours: object, theirs: object) -> bool:
    """Whether values are equal but for nulls that the loader fills into objects."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return all(json_equal(ours.get(key), value) for key, value in theirs.items())
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(json_equal, ours, theirs))
    return ours == theirs


def warnings(path: Path) -> list[str]:
    return [problem.what for problem in read(path, limit=None).problems if problem.severity is Severity.WARNING]


@pytest.mark.parametrize(
    ("suffix", "content", "says"),
    [
        ("csv", b"a,a\nx,y\n", "the header has `a` twice; the second becomes `a.1`."),
        ("csv", b"a,b\nx,y\nx\ny\n", "fewer cells than the header (2 such rows in all)"),
        ("csv", b"a;b\nx;y\n", "the header is a single column, `a;b`."),
        ("txt", b"\xef\xbb\xbfx\n", "a byte order mark, which becomes part of the text."),
        ("json", b'[{"a": "x\\ud800y"}]', "a lone surrogate"),
    ],
)
def test_what_the_loader_takes_but_hardly_anyone_means_is_a_warning(
    suffix: str, content: bytes, says: str, tmp_path: Path
) -> None:
    path = put(tmp_path, f"file.{suffix}", content)
    assert not errors(path)
    assert [says in text for text in warnings(path)] == [True]


def test_an_unknown_suffix_names_the_allowed_ones(tmp_path: Path) -> None:
    (problem,) = read(put(tmp_path, "rows.tsv", b"a\tb\n"), limit=None).problems
    assert "`.tsv`" in problem.what
    assert problem.fix == "Allowed: .arrow, .csv, .json, .jsonl, .parquet, .pt, .txt, each with .gz or without."


PACKED = [
    name
    for name, case in CASES.items()
    if case.suffix in {"json", "jsonl", "csv", "txt"} and 0 < len(case.content) < 1_000_000
]


@pytest.mark.parametrize("name", PACKED)
def test_a_compressed_file_is_judged_by_what_is_in_it(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    plain = read(put(tmp_path, f"{name}.{case.suffix}", case.content), limit=3)
    packed = read(put(tmp_path, f"{name}.{case.suffix}.gz", gzip.compress(case.content)), limit=3)
    assert (packed.rows, packed.total, packed.columns) == (plain.rows, plain.total, plain.columns)
    told = [(problem.place, problem.what) for problem in plain.problems]
    suffix = f".{case.suffix}"
    assert [
        (p.place.replace(f"{suffix}.gz", suffix), p.what.replace(f"{suffix}.gz", suffix)) for p in packed.problems
    ] == told


def test_a_compressed_file_is_not_held_whole(tmp_path: Path) -> None:
    path = put(tmp_path, "rows.jsonl.gz", gzip.compress(lines({"a": "x" * 1000}) * 50_000))
    tracemalloc.start()
    try:
        sample = read(path, limit=10)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (len(sample.rows), sample.total) == (10, 50_000)
    assert peak < 20e6


@pytest.mark.parametrize(
    "content",
    [
        lines({"a": "x"}),
        gzip.compress(lines({"a": "x"}) * 100)[:-20],
        gzip.compress(lines({"a": "x"}) * 100)[:30] + b"x" * 20,
    ],
    ids=["not packed", "cut off", "damaged"],
)
def test_a_damaged_gzip_file_is_one_problem(content: bytes, tmp_path: Path) -> None:
    (found,) = errors(put(tmp_path, "rows.jsonl.gz", content))
    assert found.startswith("rows.jsonl.gz: not a readable gzip file: ")


@pytest.mark.parametrize("name", ["rows.pt", "rows.pt.gz", "rows.parquet.gz", "rows.arrow.gz"])
def test_rows_that_reading_would_take_too_much_for_are_not_looked_at(name: str, tmp_path: Path) -> None:
    path = put(tmp_path, name, b"x")
    assert errors(path) == []
    assert ["not looked at" in text for text in warnings(path)] == [True]
    assert read(path, limit=None).total is None


def test_packed_and_unpacked_files_are_of_one_type(tmp_path: Path) -> None:
    paths = [put(tmp_path, "a.jsonl", lines({"a": "x"})), put(tmp_path, "b.json.gz", gzip.compress(array({"a": "y"})))]
    sample = read_files(paths, limit=None)
    assert (sample.total, sample.problems) == (2, ())
    assert (
        read(put(tmp_path, "rows.gz", b"x"), limit=None).problems[0].what
        == "its suffix is `.gz`, which no loader reads."
    )


def test_a_problem_names_file_and_line_and_takes_the_configurations_key(tmp_path: Path) -> None:
    path = put(tmp_path, "train.jsonl", b'{"a": "x"}\n\n{"a": }\n')
    (problem,) = read(path, limit=None).problems
    assert str(problem.problem("data.path")) == (
        "data.path: train.jsonl line 3: not valid JSON: Expecting value, column 7."
    )


def test_every_bad_line_is_counted_and_the_good_ones_are_kept(tmp_path: Path) -> None:
    sample = read(put(tmp_path, "x.jsonl", b'{"a": 1}\n{"a"\n{"a": 3}\n{"a"\n"x"\n'), limit=None)
    assert [row["a"] for row in sample.rows] == [1, 3]
    assert sample.places == ("x.jsonl line 1", "x.jsonl line 3")
    assert [problem.place for problem in sample.problems] == ["x.jsonl line 2", "x.jsonl line 5"]
    assert "(2 such lines in all)" in sample.problems[0].what


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "txt"])
def test_a_limit_bounds_the_rows_looked_at_and_not_the_count(suffix: str, tmp_path: Path) -> None:
    rows = [{"a": f"x{number}"} for number in range(50)]
    content = {"jsonl": lines(*rows), "json": array(*rows), "txt": b"x\n" * 50}.get(suffix, b"a\n" + b"x\n" * 50)
    sample = read(put(tmp_path, f"file.{suffix}", content), limit=7)
    assert (len(sample.rows), len(sample.places), sample.total, sample.complete) == (7, 7, 50, False)
    assert read(tmp_path / f"file.{suffix}", limit=None).complete


@pytest.mark.parametrize("width", [1, 500])
def test_blank_lines_between_rows_are_not_counted(width: int, tmp_path: Path) -> None:
    row = lines({"a": "x" * width})
    assert read(put(tmp_path, "x.jsonl", row + b"\n\n \r\n" + row + row), limit=1).total == 3


@pytest.mark.parametrize("kind", ["parquet", "stream", "file"])
@needs_pyarrow
def test_parquet_and_both_arrow_formats_are_read(kind: str, tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({"a": [f"x{number}" for number in range(50)], "b": [[{"c": 1}]] * 50})
    path = tmp_path / ("rows.parquet" if kind == "parquet" else "rows.arrow")
    if kind == "parquet":
        parquet.write_table(table, path, row_group_size=10)
    else:
        make = pyarrow.ipc.new_stream if kind == "stream" else pyarrow.ipc.new_file
        with make(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=10)
    sample = read(path, limit=12)
    assert (len(sample.rows), sample.total, sample.columns, sample.problems) == (12, 50, ("a", "b"), ())
    assert sample.rows[11] == {"a": "x11", "b": [{"c": 1}]}
    assert len(read(path, limit=None).rows) == 50


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
@needs_pyarrow
def test_what_is_not_parquet_or_arrow_is_refused(suffix: str, tmp_path: Path) -> None:
    (found,) = errors(put(tmp_path, f"x.{suffix}", b"hello, I am no table\n"))
    assert f"not a readable {suffix} file" in found


@needs_pyarrow
def test_a_parquet_file_without_rows_is_refused(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    sink = io.BytesIO()
    parquet.write_table(pyarrow.table({"a": pyarrow.array([], pyarrow.string())}), sink)
    assert errors(put(tmp_path, "x.parquet", sink.getvalue())) == ["x.parquet: there are no rows."]


def test_without_pyarrow_the_rows_are_not_looked_at_and_a_warning_says_so(tmp_path: Path) -> None:
    path = put(tmp_path, "x.parquet", b"PAR1")
    script = (
        "import sys; sys.modules['pyarrow'] = None; from pathlib import Path; from smtrain.rows import read; "
        f"s = read(Path({str(path)!r}), limit=5); print(s.total, s.problems[0].severity.value, s.problems[0].fix)"
    )
    root = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert done.stdout.strip() == "None warning pip install pyarrow"


def test_files_of_different_types_in_one_data_set_are_refused(tmp_path: Path) -> None:
    paths = [put(tmp_path, "a.jsonl", lines({"a": "x"})), put(tmp_path, "b.csv", b"a\nx\n")]
    (problem,) = read_files(paths, limit=None).problems
    assert problem.what == "the files of one data set are of different types: a.jsonl, b.csv."


def test_json_and_jsonl_are_of_one_type_and_their_rows_come_together(tmp_path: Path) -> None:
    paths = [put(tmp_path, "a.json", array({"a": "x"})), put(tmp_path, "b.jsonl", lines({"a": "y"}, {"a": "z"}))]
    sample = read_files(paths, limit=None)
    assert (sample.total, sample.problems) == (3, ())
    assert sample.places == ("a.json row 1", "b.jsonl line 1", "b.jsonl line 2")


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("one", "two", "says"),
    [
        ({"a": "x"}, {"a": "y", "b": "z"}, "column `b` is new, and absent from"),
        ({"a": {"b": "x"}}, {"a": {"b": "x", "c": "y"}}, "`a.c` is new, and absent from"),
        ({"a": None}, {"a": "x"}, "`a` is a string, but null in"),
        ({"a": "x"}, {"a": ["x"]}, "`a` is a"),
        ({"a": 1}, {"a": 1.5}, "`a` is a number, but an integer in"),
        ({"a": "x"}, {"a": "y"}, ""),
    ],
)
def test_files_that_disagree_are_refused_in_any_order(
    one: object, two: object, says: str, turned: bool, tmp_path: Path
) -> None:
    rows = [two, one] if turned else [one, two]
    paths = [put(tmp_path, f"{name}.jsonl", lines(row)) for name, row in zip("ab", rows, strict=True)]
    found = [problem.what for problem in read_files(paths, limit=None).problems]
    assert [says in what for what in found] == [True] * bool(says)


@needs_loader
def test_the_real_loader_refuses_files_that_disagree(tmp_path: Path) -> None:
    one = put(tmp_path, "a.jsonl", lines({"a": "x"}))
    two = put(tmp_path, "b.jsonl", lines({"a": "y", "b": "z"}))
    script = (
        "import sys, datasets\ntry: datasets.load_dataset('json', data_files=sys.argv[2:], cache_dir=sys.argv[1])\n"
        "except datasets.exceptions.DatasetGenerationError: sys.exit(9)"
    )
    codes = [
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "cache"), *map(str, order)],
            capture_output=True,
            check=False,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        ).returncode
        for order in ((one, two), (two, one))
    ]
    assert codes == [9, 0]


TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=20)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.dictionaries(TEXT, TEXT, min_size=1, max_size=3), min_size=1, max_size=6), ascii_only=st.booleans()
)
def test_hostile_strings_come_out_of_a_file_as_they_went_in(
    rows: list[dict[str, str]], ascii_only: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    text = "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows)
    by_line = read(put(folder, "x.jsonl", text.encode()), limit=None)
    by_array = read(put(folder, "x.json", json.dumps(rows, ensure_ascii=ascii_only).encode()), limit=None)
    assert list(by_line.rows) == list(by_array.rows) == rows
    assert by_line.total == by_array.total == len(rows)
    assert by_line.problems == by_array.problems == ()


def test_counting_a_large_file_takes_little_memory_and_time(tmp_path: Path) -> None:
    path = tmp_path / "big.jsonl"
    row = json.dumps({"instruction": "数据" * 20, "output": "y" * 800}, ensure_ascii=False).encode() + b"\n"
    with path.open("wb") as stream:
        for _ in range(100):
            stream.write(row * 500)
    started = time.perf_counter()
    sample = read(path, limit=1000)
    seconds = time.perf_counter() - started
    assert sample.total == 50_000
    assert path.stat().st_size / seconds > 50e6  # bytes a second; 250e6 were measured, 100e6 are asked for

    tracemalloc.start()
    read(path, limit=1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6
