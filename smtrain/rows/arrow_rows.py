"""Reads parquet and arrow files, through pyarrow where that is installed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from smtrain.rows.sample import Row, RowProblem, Sample, doubt, failed

if TYPE_CHECKING:
    import pyarrow


def read_parquet(path: Path, limit: int | None) -> Sample:
    """Reads the first rows of a parquet file; its footer counts them all."""
    try:
        from pyarrow import parquet
    except ImportError:
        return _not_looked_at(path)
    import pyarrow

    try:
        with parquet.ParquetFile(path) as file:
            batches = file.iter_batches(batch_size=min(limit or 1024, 1024))
            rows = _first_rows(batches, limit)
            return _binary(path, file.schema_arrow.names, rows, file.metadata.num_rows)
    except (pyarrow.ArrowException, OSError) as error:
        return failed(path.name, f"not a readable parquet file: {_sentence(error)}")


def read_arrow(path: Path, limit: int | None) -> Sample:
    """Reads the stream format, which `datasets` writes, or the file format (Feather 2)."""
    try:
        import pyarrow
    except ImportError:
        return _not_looked_at(path)
    try:
        with pyarrow.memory_map(str(path)) as stream:
            try:
                batches = iter(reader := pyarrow.ipc.open_stream(stream))
            except (pyarrow.ArrowInvalid, OSError):
                reader = pyarrow.ipc.open_file(stream)
                batches = (reader.get_batch(index) for index in range(reader.num_record_batches))
            names, rows, total = reader.schema.names, list[Row](), 0
            for batch in batches:
                rows += _first_rows([batch], None if limit is None else limit - len(rows))
                total += batch.num_rows
            return _binary(path, names, rows, total)
    except (pyarrow.ArrowException, OSError) as error:
        return failed(path.name, f"not a readable arrow file: {_sentence(error)}")


def _first_rows(batches: Iterable[pyarrow.RecordBatch], limit: int | None) -> list[Row]:
    rows: list[Row] = []
    for batch in batches:
        if limit is not None and len(rows) >= limit:
            break
        rows += cast("list[Row]", batch.slice(0, None if limit is None else limit - len(rows)).to_pylist())
    return rows


def _binary(path: Path, names: Sequence[str], rows: Sequence[Row], total: int) -> Sample:
    places = tuple(f"{path.name} row {number}" for number in range(1, len(rows) + 1))
    twice = [name for name, count in Counter(names).items() if count > 1]
    problems = [RowProblem(place=path.name, what=f"there are two columns `{name}`.") for name in twice]
    if not total:
        problems.append(RowProblem(place=path.name, what="there are no rows."))
    return Sample(
        rows=tuple(rows), places=places, total=total, columns=tuple(dict.fromkeys(names)), problems=tuple(problems)
    )


def _not_looked_at(path: Path) -> Sample:
    what = f"the rows were not looked at, since reading {path.suffix} takes pyarrow, which is not installed here."
    return Sample(problems=(doubt(path.name, what, "pip install pyarrow"),))


def _sentence(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".") + "."
