"""Rows of JSON: an object a line in pieces that can be parsed elsewhere, or an array that is never held whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TextIO

from smtrain_native.runtime.data_errors import DataError

Row = dict[str, object]

_WINDOW = 1 << 20
_SPACE = " \t\r\n"


def parse_lines(content: bytes, *, file: str, first_line: int) -> Iterator[tuple[str, Row]]:
    """Yields the place and the row of each line that is not blank.

    Args:
      content: whole lines.
      file: name for messages.
      first_line: number of the first line, from 1.

    Raises:
      DataError: a line is no JSON object.
    """
    for number, line in enumerate(content.split(b"\n"), first_line):
        if line and not line.isspace():
            place = f"{file} line {number}"
            yield place, as_row(_parsed(line, place), place)


def _parsed(line: bytes, place: str) -> object:
    try:
        return json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        message = f"{place}: not UTF-8: byte 0x{line[error.start]:02x} at column {error.start + 1}. Convert the file."
    except json.JSONDecodeError as error:
        message = f"{place}: not JSON: {error.msg}, at column {error.colno}. Mend or remove the line."
    except RecursionError:
        message = f"{place}: nested too deeply to be read."
    raise DataError(message)


def as_row(value: object, place: str) -> Row:
    """Returns a parsed value as the row that it must be."""
    if isinstance(value, dict):
        return value
    message = f"{place}: a row must be an object with columns, not {type(value).__name__}."
    raise DataError(message)


def stream_rows(stream: TextIO, file: str) -> Iterator[tuple[int, Row]]:
    """Yields the number, from 1, and the row of each element of an array, or of objects one after the other.

    Args:
      stream: text with its newlines untouched.
      file: name for messages.

    Raises:
      DataError: the text breaks off, is no JSON, or holds something else than objects.
    """
    window = _Window(stream, file)
    is_array = window.take("[")
    number = 0
    while window.character() not in ("", "]"):
        number += 1
        yield number, as_row(window.value(), f"{file} row {number}")
        if is_array and not window.take(","):
            break
        if is_array and window.character() == "]":
            window.fail("a comma after the last row")
    if is_array and not window.take("]"):
        window.fail("the array goes on with neither a comma nor ]" if window.character() else "the array is not closed")
    if window.character():
        window.fail("something follows the rows")


class _Window:
    """The part of a text that is being parsed."""

    def __init__(self, stream: TextIO, file: str) -> None:
        self._stream, self._file = stream, file
        self._text, self._at, self._line = "", 0, 1
        self._decoder = json.JSONDecoder()

    def character(self) -> str:
        """Returns the next character that is no white space, which is not taken; "" at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._grow(_WINDOW):
                return ""

    def take(self, character: str) -> bool:
        """Takes the next character if it is this one."""
        found = self.character() == character
        self._at += found
        return found

    def value(self) -> object:
        """Takes the next JSON value."""
        size, last = _WINDOW, ("", -1)
        while True:
            try:
                value, self._at = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                flaw = (error.msg, error.pos - self._at)
                # A flaw that stays where it is although more text came is one; a string may still be closed.
                if (flaw == last and not error.msg.startswith("Unterminated")) or not self._grow(size):
                    self._at += flaw[1]
                    self.fail(error.msg)
                size, last = 2 * size, flaw
            except RecursionError:
                self.fail("nested too deeply to be read")
            else:
                return value

    def fail(self, what: str) -> None:
        """Raises what is wrong at the next character."""
        line = self._line + self._text.count("\n", 0, self._at)
        message = f"{self._file} line {line}: not JSON: {what}. Mend the file."
        raise DataError(message)

    def _grow(self, size: int) -> bool:
        try:
            more = self._stream.read(size)
        except UnicodeDecodeError as error:
            lines = self._line + self._text.count("\n")
            message = f"{self._file}, after line {lines}: not UTF-8: {error.reason}. Convert the file."
            raise DataError(message) from None
        self._line += self._text.count("\n", 0, self._at)
        self._text, self._at = self._text[self._at :] + more, 0
        return bool(more)
