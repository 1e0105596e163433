"""Bringing the results of a training job here: what its agent left in S3, else what SageMaker made of its model."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from smtrain.plugin import ExitCode, Observer, Receipt, aws, fail, runs, s3_objects, s3_results
from smtrain_trainingjob.following import submitted
from smtrain_trainingjob.following.status import describe
from smtrain_trainingjob.following.submitted import Submitted

try:
    from backports import tarfile  # Python before 3.11.4, Debian 12's own among them, cannot unpack safely by itself
except ImportError:
    import tarfile


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
    results = s3_results.Results(
        client=aws.Client("s3", job.region),
        output_uri=job.output_uri,
        run_dir=run_dir,
        progress=run_dir / runs.WORK / job.progress if job.progress else None,
        observer=observer,
    )
    fetchers = {
        "model": lambda: results.model() or _artifact(results, job),
        "checkpoints": results.checkpoints,
        "metrics": results.metrics,
    }
    return tuple(path for part, fetcher in fetchers.items() if part in parts for path in fetcher())


def _artifact(results: s3_results.Results, job: Submitted) -> tuple[Path, ...]:
    """Fetches what SageMaker itself made of /opt/ml/model: an archive, or the files as they were."""
    client, place = results.client, results.output / "model"
    description = describe(aws.Client("sagemaker", job.region), job.job) or {}
    artifacts = description.get("ModelArtifacts")
    uri = str(artifacts.get("S3ModelArtifacts", "")) if isinstance(artifacts, dict) else ""
    archive = s3_objects.at(client, uri) if uri.endswith(".tar.gz") else None
    found = list(s3_objects.listed(client, uri)) if uri and archive is None else []
    if archive is not None:
        results.tell("model", [archive], uri)
        if unpack(client, archive, place):
            return (place,)
    elif found:
        results.tell("model", found, uri)
        s3_objects.fetch(client, [(each, s3_objects.below(place, each)) for each in found])
        return (place,)
    results.observer.line(f"smtrain: there is no model at {job.output_uri}/output/")
    return ()


def unpack(client: aws.Client, archive: s3_objects.Found, place: Path) -> bool:
    """Fetches an archive and puts what is in it into a folder, which is there only when all of it is.

    Returns:
      Whether anything was in it: SageMaker packs an empty folder, too.

    Raises:
      SmtrainError: it is damaged, or something in it would leave the folder or is no plain file or folder.
    """
    if not hasattr(tarfile, "data_filter"):
        what = "This Python cannot unpack an archive safely by itself."
        raise fail(
            what,
            "Give it what newer ones have: pip install backports.tarfile. Or take Python 3.11.4 or newer.",
            code=ExitCode.MISSING_HERE,
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent) as scratch:
        packed, new = Path(scratch) / "model.tar.gz", Path(scratch) / "model"
        s3_objects.fetch(client, [(archive, packed)])
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
