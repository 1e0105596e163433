"""Which token budget gives a batch size: `python -m smtrain_native.runtime.plan_batches native.json --batch-size B`.

Without `--batch-size` or `--budget` it reads questions, a line each: `B [GPUS [ACCUMULATION]]`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from smtrain_native.runtime import failure, settings
from smtrain_native.runtime.batch_sizes import Answer, BatchSizes
from smtrain_native.runtime.ending import FAILED, UserError

UNANSWERED = 2
INTERRUPTED = 130

MOST = 2**31 - 1
"""The largest number that may be asked for."""

_WORDS = range(1, 4)
_PROMPT = "batch size [GPUs [accumulation]]: "


def main(argv: Sequence[str] | None = None) -> int:
    """Answers one question, or one after another."""
    options = _parser().parse_args(argv)
    try:
        run = settings.read(options.document)
        accumulation = options.accumulation or run.batching.accumulation
        desk = _Desk(BatchSizes(run, Path()), options.gpus, accumulation, as_json=options.json)
        if options.batch_size is not None:
            return desk.budget_for(options.batch_size)
        if options.budget is not None:
            return desk.given(options.budget)
        return desk.converse()
    except UserError as error:
        _refuse(error, FAILED, as_json=options.json)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="smtrain_native.runtime.plan_batches", description=__doc__)
    parser.add_argument("document", type=Path, help="native.json")
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument("--batch-size", type=_count, help="samples of an optimizer step, at least")
    asked.add_argument("--budget", type=_count, help="tells what this budget gives")
    parser.add_argument("--gpus", type=_count, default=1, help="processes")
    parser.add_argument("--accumulation", type=_count, help="micro-batches of each process and step")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each question")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MOST:
        raise ValueError
    return number


_count.__name__ = f"whole number from 1 to {MOST}"  # which argparse names in its message


class _Desk:
    """Where questions are answered."""

    def __init__(self, sizes: BatchSizes, gpus: int, accumulation: int | None, *, as_json: bool) -> None:
        """Takes what a question need not say.

        Args:
          sizes: answers.
          gpus: processes.
          accumulation: micro-batches of each process and step; None is as many as a step needs.
          as_json: how to answer.
        """
        self._sizes, self._gpus, self._accumulation, self._as_json = sizes, gpus, accumulation, as_json

    def budget_for(self, batch_size: int, gpus: int | None = None, accumulation: int | None = None) -> int:
        """Tells which budget gives a batch size, and returns the exit code."""
        return self._tell(
            partial(
                self._sizes.budget_for,
                batch_size,
                gpus=gpus or self._gpus,
                accumulation=accumulation or self._accumulation or 1,
            )
        )

    def given(self, budget: int) -> int:
        """Tells what a budget gives, and returns the exit code."""
        return self._tell(partial(self._sizes.given, budget, gpus=self._gpus, accumulation=self._accumulation))

    def converse(self) -> int:
        """Answers line after line, and returns the exit code; a person who asks wrongly asks again."""
        person = sys.stdin.isatty()
        codes = [self._answer(line) for line in (_typed() if person else filter(str.strip, sys.stdin))]
        return 0 if person else max(codes, default=0)

    def _answer(self, line: str) -> int:
        try:
            numbers = tuple(map(_count, line.split()))
        except ValueError:
            numbers = ()
        if len(numbers) in _WORDS:
            return self.budget_for(*numbers)
        message = f"`{line.strip()}` is no question. Write B, B GPUS or B GPUS ACCUMULATION, from 1 to {MOST} each."
        _refuse(UserError(message), UNANSWERED, as_json=self._as_json)
        return UNANSWERED

    def _tell(self, answer: Callable[[], Answer]) -> int:
        try:
            found = answer()
        except UserError as error:
            _refuse(error, UNANSWERED, as_json=self._as_json)
            return UNANSWERED
        lines = (json.dumps(found.as_json()),) if self._as_json else found.lines()
        print("\n".join(lines), flush=True)
        return 0


def _typed() -> Iterator[str]:
    """Yields what a person types, up to an empty line or Ctrl-D."""
    while True:
        sys.stderr.write(_PROMPT)
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            sys.stderr.write("\n")
        if not line.strip():
            return
        yield line


def _refuse(error: UserError, code: int, *, as_json: bool) -> None:
    print(f"error: {error}", file=sys.stderr, flush=True)
    if as_json:
        print(json.dumps(failure.as_json([str(error)], code), ensure_ascii=False), flush=True)


if __name__ == "__main__":
    sys.exit(main())
