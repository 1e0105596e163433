"""Bringing the results of a training job here, to where a run of this machine has them.

What the agent leaves below the run's URI: `output/<name>/…` (after success, from the first host),
`checkpoints/<name>/<checkpoint>/…` and `progress.jsonl`.
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from smtrain.plugin import ExitCode, Observer, Receipt, aws, fail, runs
from smtrain_trainingjob.following import checkpoints, objects, submitted
from smtrain_trainingjob.following.objects import Found
from smtrain_trainingjob.following.status import describe
from smtrain_trainingjob.following.submitted import Submitted

PROGRESS = "progress.jsonl"


def fetch(run_dir: Path, receipt: Receipt, *, parts: tuple[str, ...], observer: Observer) -> tuple[Path, ...]:
    """Fetches results, and returns the files and folders that are there now.

    Args:
      run_dir: the run's folder.
      receipt: its receipt.
      parts: of "model", "checkpoints", "metrics".
      observer: is told what is fetched, and what there is none of.

    Raises:
      SmtrainError: AWS refused, cannot be reached, or sent less than it listed; asking again goes on.
    """
    job = submitted.read(run_dir, receipt)
    fetching = _Fetching(run_dir=run_dir, job=job, client=aws.Client("s3", job.region), observer=observer)
    fetchers = {"model": fetching.model, "checkpoints": fetching.checkpoints, "metrics": fetching.metrics}
    return tuple(path for part, fetcher in fetchers.items() if part in parts for path in fetcher())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fetching:
    run_dir: Path
    job: Submitted
    client: aws.Client
    observer: Observer

    @property
    def output(self) -> Path:
        return self.run_dir / "output"

    def model(self) -> tuple[Path, ...]:
        uri = f"{self.job.output_uri}/output"
        # SageMaker's own archives lie beside the agent's folders: a run's folder in S3 has the name of its job.
        found = [each for each in objects.listed(self.client, uri) if "/" in each.path]
        if not found:
            return self._artifact()
        self._tell("model", found, uri)
        return self._folders(found, depth=1)

    def checkpoints(self) -> tuple[Path, ...]:
        uri = f"{self.job.output_uri}/checkpoints"
        found = list(checkpoints.whole(objects.listed(self.client, uri), self._content))
        if not found:
            self.observer.line(f"smtrain: there is no whole checkpoint at {uri}/")
            return ()
        self._tell("checkpoints", found, uri)
        return self._folders(found, depth=checkpoints.DEPTH)

    def metrics(self) -> tuple[Path, ...]:
        if not self.job.progress:
            return ()
        found = objects.at(self.client, f"{self.job.output_uri}/{PROGRESS}")
        if found is None:
            self.observer.line(f"smtrain: there is no progress at {self.job.output_uri}/{PROGRESS}")
            return ()
        return objects.fetch(self.client, [(found, self.run_dir / runs.WORK / self.job.progress)])

    def _content(self, found: Found) -> bytes:
        with tempfile.TemporaryDirectory() as scratch:
            (path,) = objects.fetch(self.client, [(found, Path(scratch) / "object")])
            return path.read_bytes()

    def _folders(self, found: list[Found], *, depth: int) -> tuple[Path, ...]:
        """Fetches objects into the output folder, and returns the folders that are so many levels down."""
        objects.fetch(self.client, [(each, objects.below(self.output, each)) for each in found])
        tops = (PurePosixPath(*PurePosixPath(each.path).parts[:depth]) for each in found)
        return tuple(self.output / top for top in dict.fromkeys(tops))

    def _artifact(self) -> tuple[Path, ...]:
        """Fetches what SageMaker itself made of /opt/ml/model: an archive, or the files as they were."""
        description = describe(aws.Client("sagemaker", self.job.region), self.job.job) or {}
        artifacts = description.get("ModelArtifacts")
        uri = str(artifacts.get("S3ModelArtifacts", "")) if isinstance(artifacts, dict) else ""
        archive = objects.at(self.client, uri) if uri.endswith(".tar.gz") else None
        found = list(objects.listed(self.client, uri)) if uri and archive is None else []
        place = self.output / "model"
        if archive is not None:
            self._tell("model", [archive], uri)
            if unpack(self.client, archive, place):
                return (place,)
        elif found:
            self._tell("model", found, uri)
            objects.fetch(self.client, [(each, objects.below(place, each)) for each in found])
            return (place,)
        self.observer.line(f"smtrain: there is no model at {self.job.output_uri}/output/")
        return ()

    def _tell(self, what: str, found: list[Found], uri: str) -> None:
        size = sum(each.size for each in found)
        self.observer.line(f"smtrain: {what}: {len(found)} files, {size / 1e6:,.1f} MB from {uri}")


def unpack(client: aws.Client, archive: Found, place: Path) -> bool:
    """Fetches an archive and puts what is in it into a folder, which is there only when all of it is.

    Returns:
      Whether anything was in it: SageMaker packs an empty folder, too.

    Raises:
      SmtrainError: it is damaged, or something in it would leave the folder or is no plain file or folder.
    """
    if not hasattr(tarfile, "data_filter"):
        what = "This Python cannot unpack an archive safely."
        raise fail(what, "Upgrade it to 3.11.4 or newer.", code=ExitCode.MISSING_HERE)
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent) as scratch:
        packed, new = Path(scratch) / "model.tar.gz", Path(scratch) / "model"
        objects.fetch(client, [(archive, packed)])
        try:
            with tarfile.open(packed) as tar:
                tar.extractall(new, filter="data")
        except (tarfile.TarError, EOFError) as error:
            what = f"s3://{archive.bucket}/{archive.key} cannot be unpacked: {error}."
            raise fail(what, "Look at it by hand.", code=ExitCode.REMOTE_REFUSED) from error
        if not any(path.is_file() for path in new.rglob("*")):
            return False
        shutil.rmtree(place, ignore_errors=True)
        new.replace(place)
        return True
