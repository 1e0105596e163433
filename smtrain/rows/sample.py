"""What was seen of the rows of files, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from smtrain.errors import Problem, Severity
from smtrain.spec import Json

Row = Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowProblem:
    """Something wrong with a file of rows.

    Attributes:
      place: the file's name, and the line or row (1-based) where one is at fault: "train.jsonl line 3".
      what: what was seen there; ends with a full stop.
      fix: what to do; may be empty.
      severity: a warning when the loader would take it all the same.
    """

    place: str
    what: str
    fix: str = ""
    severity: Severity = Severity.ERROR

    def problem(self, key: str) -> Problem:
        """Returns this as a problem of the configuration key that named the file."""
        return Problem(key=key, what=f"{self.place}: {self.what}", fix=self.fix, severity=self.severity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Rows of one or several files, looked at.

    Attributes:
      rows: the rows looked at. Values are JSON, except that parquet and arrow may hold bytes, dates and decimals.
      places: for each of them where it stands, e.g. "train.jsonl line 3".
      total: all rows of the files; None when they could not be counted.
      columns: the columns of the rows looked at, in the order in which they first appear.
      problems: what is wrong with the files.
    """

    rows: tuple[Row, ...] = ()
    places: tuple[str, ...] = ()
    total: int | None = None
    columns: tuple[str, ...] = ()
    problems: tuple[RowProblem, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every row was looked at."""
        return self.total == len(self.rows)


def failed(place: str, what: str, fix: str = "") -> Sample:
    """Returns the sample of a file that cannot be read, which is the one problem."""
    return Sample(problems=(RowProblem(place=place, what=what, fix=fix),))


def doubt(place: str, what: str, fix: str = "") -> RowProblem:
    """Returns a problem that the loader would pass over."""
    return RowProblem(place=place, what=what, fix=fix, severity=Severity.WARNING)
