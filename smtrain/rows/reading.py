"""Chooses the reader of each file by its suffix, as the loader does, and looks at the files of a data set together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from smtrain.rows.agreement import disagreements
from smtrain.rows.opening import GZIP, UNREADABLE, is_compressed, suffix_of
from smtrain.rows.sample import RowProblem, Sample, doubt, failed

SUFFIXES: Mapping[str, str] = MappingProxyType(
    {
        "arrow": "arrow",
        "csv": "csv",
        "json": "json",
        "jsonl": "json",
        "parquet": "parquet",
        "pt": "torch",
        "txt": "text",
    }
)
"""Suffix of a file, which `.gz` may follow → what reads it: LLaMA-Factory's FILEEXT2TYPE, and what torch.save wrote."""

_READ_HERE_UNPACKED = frozenset({"csv", "json", "text"})
"""Kinds that are looked at through gzip; the others would have to be unpacked as a whole."""


def read(path: Path, *, limit: int | None) -> Sample:
    """Looks at the first rows of a file, and counts them all.

    Args:
      path: an existing file.
      limit: how many rows to look at; None looks at, and keeps in memory, every row.
    """
    kind = SUFFIXES.get(suffix_of(path.name))
    if kind is None:
        allowed = ", ".join(f".{suffix}" for suffix in SUFFIXES)
        suffix = "".join(path.suffixes[-2:]) if is_compressed(path.name) else path.suffix
        found = f"its suffix is `{suffix}`" if suffix else "it has no suffix"
        return failed(
            path.name, f"{found}, which no loader reads.", f"Allowed: {allowed}, each with {GZIP} or without."
        )
    if not path.stat().st_size:
        return replace(failed(path.name, "the file is empty."), total=0)
    if kind == "torch":
        return Sample(problems=(doubt(path.name, "the rows were not looked at, since reading .pt takes torch."),))
    if is_compressed(path.name):
        return _read_compressed(path, kind, limit)
    return _reader(kind)(path, limit)


def _read_compressed(path: Path, kind: str, limit: int | None) -> Sample:
    if kind not in _READ_HERE_UNPACKED:
        what = f"the rows were not looked at, since a compressed .{suffix_of(path.name)} must be unpacked as a whole."
        return Sample(problems=(doubt(path.name, what),))
    try:
        return _reader(kind)(path, limit)
    except UNREADABLE as error:
        what = f"not a readable gzip file: {str(error).rstrip('.')}."
        return failed(path.name, what, f"Pack it again, or take {GZIP} off its name if it is not packed.")


def read_files(paths: Sequence[Path], *, limit: int | None) -> Sample:
    """Looks at the files of one data set together; they must be of one type and agree on their columns.

    Args:
      paths: at least one existing file.
      limit: how many rows of each file to look at; None for all.
    """
    samples = [read(path, limit=limit) for path in paths]
    totals = [sample.total for sample in samples]
    return Sample(
        rows=tuple(row for sample in samples for row in sample.rows),
        places=tuple(place for sample in samples for place in sample.places),
        total=None if None in totals else sum(total or 0 for total in totals),
        columns=tuple(dict.fromkeys(name for sample in samples for name in sample.columns)),
        problems=(
            *_mixed_suffixes(paths),
            *(problem for sample in samples for problem in sample.problems),
            *disagreements([path.name for path in paths], samples),
        ),
    )


def _reader(kind: str) -> Callable[[Path, int | None], Sample]:
    """Returns the reader of a loader's files; imported one by one, since most runs have rows of one type."""
    match kind:
        case "json":
            from smtrain.rows.json_rows import read_json as reader
        case "csv":
            from smtrain.rows.csv_rows import read_csv as reader
        case "text":
            from smtrain.rows.text_rows import read_text as reader
        case "parquet":
            from smtrain.rows.arrow_rows import read_parquet as reader
        case _:
            from smtrain.rows.arrow_rows import read_arrow as reader
    return reader


def _mixed_suffixes(paths: Sequence[Path]) -> Iterator[RowProblem]:
    suffixes = {path: suffix_of(path.name) for path in reversed(paths)}
    kinds = {SUFFIXES[suffix]: path for path, suffix in suffixes.items() if suffix in SUFFIXES}
    if len(kinds) > 1:
        names = ", ".join(sorted(path.name for path in kinds.values()))
        what = f"the files of one data set are of different types: {names}."
        yield RowProblem(place=paths[0].parent.name, what=what, fix="Make each type a data set of its own.")
