"""Whether the chunks of a file, and the files of a data set, agree on their columns and types."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

from smtrain.errors import Severity
from smtrain.rows.sample import Row, RowProblem, Sample
from smtrain.rows.value_types import ValueType, column_types, misfits


def sample_of_file(
    name: str,
    rows: Sequence[Row],
    places: Sequence[str],
    *,
    total: int,
    problems: Iterable[RowProblem] = (),
    cuts: Sequence[int] = (0,),
) -> Sample:
    """Returns the sample of a file whose loader starts a new chunk at each row index of `cuts`."""
    found = list(problems)
    first: dict[str, ValueType] = {}
    for start, end in itertools.pairwise((*cuts, len(rows))):
        types, conflicts = column_types(rows[start:end], places[start:end])
        found += conflicts
        if start:
            fix = "The loader takes columns and types from its first chunk; let the first rows have them all."
            whole = f"the first {cuts[1]} rows, which the loader reads first."
            found += [RowProblem(place=places[start], what=f"{w} {whole}", fix=fix) for _, w in misfits(first, types)]
        first = first or types
    if not total and not found:
        found.append(RowProblem(place=name, what="there are no rows."))
    columns = tuple(dict.fromkeys(column for row in rows for column in row))
    return Sample(rows=tuple(rows), places=tuple(places), total=total, columns=columns, problems=tuple(found))


def disagreements(names: Sequence[str], samples: Sequence[Sample]) -> Iterator[RowProblem]:
    """Yields where a file does not fit the first one; both ways, since LLaMA-Factory lists a folder in any order."""
    filled = [(name, sample) for name, sample in zip(names, samples, strict=True) if sample.rows]
    first_name, first = filled[0] if filled else ("", Sample())
    base, _ = column_types(first.rows, first.places)
    for name, sample in filled[1:]:
        types, _ = column_types(sample.rows, sample.places)
        found = {column: (name, what, first_name) for column, what in misfits(base, types)}
        found |= {column: (first_name, what, name) for column, what in misfits(types, base) if column not in found}
        sure = first.complete and sample.complete
        for place, what, other in found.values():
            severity = Severity.ERROR if sure else Severity.WARNING
            fix = "Let all files of a data set have the same columns and types."
            yield RowProblem(place=place, what=f"{what} {other}.", fix=fix, severity=severity)
