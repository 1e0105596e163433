"""Reading a file of lines while it grows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


class Tail:
    """Reads a growing file of lines."""

    def __init__(self, path: Path) -> None:
        """Starts at the beginning of the file, which may not be there yet."""
        self._path = path
        self._offset = 0
        self._rest = b""

    def poll(self) -> Iterator[str]:
        """Yields the lines that were completed since the last time."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                piece = file.read()
        except FileNotFoundError:
            return
        self._offset += len(piece)
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", errors="replace")

    def close(self) -> Iterator[str]:
        """Yields what stands after the last line's end."""
        if self._rest:
            yield self._rest.decode("utf-8", errors="replace")
        self._rest = b""
