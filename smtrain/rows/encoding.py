"""One pass over the bytes of a text file: its lines are counted, and the first byte that is not UTF-8 is found."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from smtrain.rows.opening import open_bytes
from smtrain.rows.sample import RowProblem

_SCAN_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Scan:
    """What a pass over a text file's bytes found.

    Attributes:
      lines: all lines.
      filled: those that are not blank.
      flaw: the first byte that is NUL or not UTF-8; the counts are then of no use.
    """

    lines: int
    filled: int
    flaw: RowProblem | None = None


def scan_bytes(path: Path) -> Scan:
    """Reads the whole file once, and no further than its first flaw."""
    lines = filled = offset = 0
    with open_bytes(path) as stream:
        while chunk := stream.read(_SCAN_BYTES):
            chunk += stream.readline()
            if (at := _first_flaw(chunk)) is not None:
                line = lines + chunk.count(b"\n", 0, at) + 1
                place = f"{path.name} line {line}"
                return Scan(lines, filled, _flaw(path.name, place, chunk, at, offset))
            # Universal newlines; the chunk ends with one or with the file, so that no \r\n is cut in two.
            lines += chunk.count(b"\n") + (chunk.count(b"\r") - chunk.count(b"\r\n") if b"\r" in chunk else 0)
            lines += not chunk.endswith((b"\n", b"\r"))
            filled += _filled_lines(chunk)
            offset += len(chunk)
    return Scan(lines, filled)


def _filled_lines(chunk: bytes) -> int:
    newlines = chunk.count(b"\n")
    # Splitting is cheap for long lines, searching for blank ones cheaper for short lines.
    long_lines = newlines * 64 < len(chunk)
    if long_lines or chunk[:1].isspace() or any(blank in chunk for blank in (b"\n\n", b"\n\r", b"\n ", b"\n\t")):
        return sum(1 for line in chunk.split(b"\n") if line and not line.isspace())
    return newlines + (not chunk.endswith(b"\n"))


def _first_flaw(chunk: bytes) -> int | None:
    """Returns the index of the first byte that is NUL or not UTF-8."""
    nul = chunk.find(0)
    if not chunk.isascii():
        try:
            chunk.decode()
        except UnicodeDecodeError as error:
            return error.start if nul < 0 else min(nul, error.start)
    return None if nul < 0 else nul


def _flaw(name: str, place: str, chunk: bytes, at: int, offset: int) -> RowProblem:
    start = chunk[:64] if not offset else b""
    near = chunk[max(0, at - 1) : at + 63]
    if start.startswith((b"\xff\xfe", b"\xfe\xff")) or near.count(0) > len(near) // 4:
        encoding = "UTF-16"
    elif not chunk[at]:
        return RowProblem(place=place, what=f"a NUL byte at offset {offset + at}.", fix="Remove it from the file.")
    else:
        encoding = "GB18030" if _looks_chinese(chunk[at : at + 64]) else "Windows-1252"
    what = f"the file is not UTF-8: byte 0x{chunk[at]:02x} at offset {offset + at}; it looks like {encoding}."
    return RowProblem(place=place, what=what, fix=f"Convert it: iconv -f {encoding} -t UTF-8 {name} > NEW")


def _looks_chinese(near: bytes) -> bool:
    """Whether bytes come in runs of two and more that GB18030 can read; accents in Latin text stand alone."""
    run = re.match(rb"(?:[\x81-\xfe][\x40-\x7e\x80-\xfe]){2,}", near)
    return run is not None and len(re.findall(rb"[\x80-\xfe]", run[0])) > 0.7 * len(run[0])
