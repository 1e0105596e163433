"""Columns that the mapping names and the rows lack, and roles for which it names none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from smtrain.columns.hints import counterpart, wrapping_field
from smtrain.columns.mapping import effective_columns, needed, readable
from smtrain.columns.settings import key_of, set_to, spoken
from smtrain.errors import Problem
from smtrain.rows import Sample
from smtrain.spec import Dataset, RowShape


def missing_columns(dataset: Dataset, sample: Sample, shape: RowShape, *, rich: bool = False) -> Iterator[Problem]:
    """Yields the columns that the rows lack, and the roles that have none."""
    columns = effective_columns(dataset)
    read = {role: column for role, column in columns.items() if role in readable(dataset)}
    absent = {role: column for role, column in read.items() if column not in sample.columns}
    unmapped = [role for role in needed(dataset, shape, rich=rich) if role not in columns]
    if not dataset.columns and (absent or unmapped):
        yield _defaults_do_not_fit(dataset, sample, shape, absent, unmapped)
        return
    for role, column in absent.items():
        found = counterpart(role, column, dataset, sample)
        was = f"{set_to(dataset, {f'columns.{role}': found})} (was {column})." if found else ""
        what = f"no column `{column}`; {_have(sample)}"
        yield Problem(key=key_of(dataset, f"columns.{role}"), what=what, fix=_fix(was, dataset, sample, column))
    for role in unmapped:
        found = counterpart(role, role, dataset, sample)
        what = f"no column is named for {role}, and naming any column drops the defaults; {_have(sample)}"
        set_it = f"{set_to(dataset, {f'columns.{role}': found or 'COLUMN'})}."
        yield Problem(key=key_of(dataset, f"columns.{role}"), what=what, fix=set_it)


def _defaults_do_not_fit(
    dataset: Dataset, sample: Sample, shape: RowShape, absent: Mapping[str, str], unmapped: Sequence[str]
) -> Problem:
    """Returns one problem for all default columns, since naming one column means naming them all."""
    columns = effective_columns(dataset)
    found = {role: counterpart(role, column, dataset, sample) for role, column in absent.items()}
    found |= {role: counterpart(role, role, dataset, sample) for role in unmapped}
    whole = {role: column for role, column in columns.items() if role not in absent} | found
    settings = {f"columns.{role}": column for role, column in whole.items() if column}
    lacks = [*(f"no column `{column}`" for column in absent.values()), *(f"no column for {r}" for r in unmapped)]
    what = f"{', '.join(lacks)}; {_have(sample)}"
    known = any(found.values()) or all(whole.get(role) for role in needed(dataset, shape))
    set_them = f"{set_to(dataset, settings)}." if known else f"Name the columns with {spoken(dataset, 'columns')}."
    return Problem(key=dataset.key, what=what, fix=_fix(set_them, dataset, sample, next(iter(absent.values()), "")))


def _fix(setting: str, dataset: Dataset, sample: Sample, column: str) -> str:
    lines = [setting or f"Name one of these columns with {spoken(dataset, 'columns')}."]
    if wrapping := wrapping_field(sample, column):
        lines = [f"The file is one object; make it the list that is its field `{wrapping}`."]
    if not sample.complete:
        lines.append("If later rows have it: data.check=all looks at every row.")
    return "\n".join(lines)


def _have(sample: Sample) -> str:
    return f"the rows have {', '.join(f'`{column}`' for column in sample.columns) or 'no columns'}."
