"""Bringing the results that an agent left in S3 here, to where a run of this machine has them.

What the agent leaves below the run's URI: `output/<name>/…` (after success, from the first node),
`checkpoints/<name>/<checkpoint>/…` and `progress.jsonl`.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from smtrain.aws import objects, whole_checkpoints
from smtrain.aws.client import Client
from smtrain.aws.objects import Found
from smtrain.progress import Observer

PROGRESS = "progress.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """The results of one run.

    Each method fetches and returns the files and folders that are here now, and raises `SmtrainError` when AWS
    refuses, cannot be reached, or sends less than it listed; asking again goes on.

    Attributes:
      client: of S3.
      output_uri: s3:// URI of the run's own folder, without a slash at the end.
      run_dir: the run's folder here.
      progress: file here that receives the program's progress; None when it reports none.
      observer: is told what is fetched, and what there is none of.
    """

    client: Client
    output_uri: str
    run_dir: Path
    progress: Path | None
    observer: Observer

    @property
    def output(self) -> Path:
        """The folder here of all outputs."""
        return self.run_dir / "output"

    def model(self) -> tuple[Path, ...]:
        """Fetches the outputs, without their checkpoints; none is no error, and is not told."""
        uri = f"{self.output_uri}/output"
        # SageMaker's own archives lie beside the agent's folders: a run's folder in S3 has the name of its job.
        found = [each for each in objects.listed(self.client, uri) if "/" in each.path]
        if not found:
            return ()
        self.tell("model", found, uri)
        return self._folders(found, depth=1)

    def checkpoints(self) -> tuple[Path, ...]:
        """Fetches the checkpoints that are whole."""
        uri = f"{self.output_uri}/checkpoints"
        found = list(whole_checkpoints.whole(objects.listed(self.client, uri), self._content))
        if not found:
            self.observer.line(f"smtrain: there is no whole checkpoint at {uri}/")
            return ()
        self.tell("checkpoints", found, uri)
        return self._folders(found, depth=whole_checkpoints.DEPTH)

    def metrics(self) -> tuple[Path, ...]:
        """Fetches the program's progress."""
        if self.progress is None:
            return ()
        found = objects.at(self.client, f"{self.output_uri}/{PROGRESS}")
        if found is None:
            self.observer.line(f"smtrain: there is no progress at {self.output_uri}/{PROGRESS}")
            return ()
        return objects.fetch(self.client, [(found, self.progress)])

    def tell(self, what: str, found: list[Found], uri: str) -> None:
        """Says what is about to be fetched."""
        size = sum(each.size for each in found)
        self.observer.line(f"smtrain: {what}: {len(found)} files, {size / 1e6:,.1f} MB from {uri}")

    def _content(self, found: Found) -> bytes:
        with tempfile.TemporaryDirectory() as scratch:
            (path,) = objects.fetch(self.client, [(found, Path(scratch) / "object")])
            return path.read_bytes()

    def _folders(self, found: list[Found], *, depth: int) -> tuple[Path, ...]:
        """Fetches objects into the output folder, and returns the folders that are so many levels down."""
        objects.fetch(self.client, [(each, objects.below(self.output, each)) for each in found])
        tops = (PurePosixPath(*PurePosixPath(each.path).parts[:depth]) for each in found)
        return tuple(self.output / top for top in dict.fromkeys(tops))
