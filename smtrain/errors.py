"""What went wrong: where it was said, what was found, what to do about it, and the exit code of its kind."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass


class ExitCode(enum.IntEnum):
    """One code a kind of failure; scripts may rely on them."""

    DONE = 0
    WORKLOAD_FAILED = 1
    BAD_CONFIG = 2
    BROKEN_PLUGIN = 3
    MISSING_HERE = 4
    REMOTE_REFUSED = 5
    INTERRUPTED = 130


class Severity(enum.Enum):
    """An error stops the compile; a warning is shown and the compile goes on."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a value was said.

    Attributes:
      source: a file's path or package address, or the override as it was typed.
      line: 1-based line in the file; None for an override or a whole file.
    """

    source: str
    line: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake, or one doubt, about one key of the configuration.

    Attributes:
      key: dotted path of the key at fault, "" when no single key is.
      what: what was found, without the location; ends with a full stop.
      fix: what to do; may be empty.
      where: filled in by the pipeline from the key, unless the finder knows better.
      severity: whether the compile may go on.
      code: the exit code of the command when this is an error.
    """

    key: str
    what: str
    fix: str = ""
    where: Origin | None = None
    severity: Severity = Severity.ERROR
    code: ExitCode = ExitCode.BAD_CONFIG

    @property
    def is_error(self) -> bool:
        """Whether the compile must stop."""
        return self.severity is Severity.ERROR

    def __str__(self) -> str:
        head = ": ".join(str(part) for part in (self.where, self.key) if part)
        lines = [f"{head}: {self.what}" if head else self.what]
        lines += [f"  {line}" for line in self.fix.splitlines()]
        return "\n".join(lines)


def warning(key: str, what: str, fix: str = "") -> Problem:
    """Returns a problem that does not stop the compile."""
    return Problem(key=key, what=what, fix=fix, severity=Severity.WARNING)


class SmtrainError(Exception):
    """Carries every problem found; `cli` prints them and exits with the gravest code."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        """Keeps the problems, sorted by where they are.

        Args:
          problems: at least one.
        """
        self.problems = tuple(sorted(problems, key=_order))
        # As the sole argument, so that the error survives being sent between the processes of a sweep.
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))

    @property
    def exit_code(self) -> ExitCode:
        """The code of the first error; a wrong configuration outranks the rest, since it is the user's to mend."""
        codes = [problem.code for problem in self.problems if problem.is_error]
        return ExitCode.BAD_CONFIG if ExitCode.BAD_CONFIG in codes else max(codes, default=ExitCode.BAD_CONFIG)


def fail(what: str, fix: str = "", *, key: str = "", code: ExitCode = ExitCode.BAD_CONFIG) -> SmtrainError:
    """Returns an error with one problem, to be raised by the caller."""
    return SmtrainError([Problem(key=key, what=what, fix=fix, code=code)])


def _order(problem: Problem) -> tuple[str, int, str, str]:
    where = problem.where
    return (where.source if where else "", (where.line or 0) if where else 0, problem.key, problem.what)
