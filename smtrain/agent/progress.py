"""Uploads the program's progress while it runs, continuing that of the run that it goes on from."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from smtrain.agent import transfers
from smtrain.agent.ending import AgentError, say
from smtrain.agent.store import Store, Transfer

NAME = "progress.jsonl"


class ProgressUpload:
    """One JSON-lines file."""

    def __init__(self, path: Path, *, step: str, store: Store, prefix: str) -> None:
        """Uploads nothing yet.

        Args:
          path: the program's file; it need not be there yet.
          step: field with the number of steps done.
          store: where it goes.
          prefix: URI of the folder there, ending in "/".
        """
        self._path = path
        self._step = step
        self._store = store
        self._prefix = prefix
        self._earlier = b""
        self._sent = b""

    def go_on_from(self, step: int) -> None:
        """Keeps the stored rows up to a step, which the program does not write again."""
        try:
            rows = self._stored().splitlines(keepends=True)
        except AgentError as error:
            say(f"the earlier progress could not be fetched: {error.reason}")
            return
        self._earlier = b"".join(row for row in rows if self._is_until(row, step))

    def look(self, *, last: bool) -> bool:
        """Uploads the whole lines that are there, if there are new ones."""
        try:
            content = self._path.read_bytes()
        except OSError:
            return False
        content = content if last else content[: content.rfind(b"\n") + 1]
        # A program may go on writing to the file that it finds.
        whole = content if content.startswith(self._earlier) else self._earlier + content
        if whole not in {b"", self._sent}:
            self._send(whole)
        return False

    def _send(self, content: bytes) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / NAME
            path.write_bytes(content)
            wanted = Transfer(uri=self._prefix + NAME, path=path, size=len(content))
            errors = self._store.put((wanted,))
        if errors:
            say(f"the progress could not be uploaded: {errors[0]}")
        else:
            self._sent = content

    def _stored(self) -> bytes:
        uri = self._prefix + NAME
        found = tuple(item for item in transfers.looking(self._store, uri) if item.uri == uri)
        if not found:
            return b""
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / NAME
            transfers.download(self._store, (Transfer(uri=uri, path=path, size=found[0].size),))
            return path.read_bytes()

    def _is_until(self, row: bytes, step: int) -> bool:
        try:
            found = json.loads(row)[self._step]
        except (ValueError, KeyError, TypeError):
            return False
        return isinstance(found, int | float) and found <= step
