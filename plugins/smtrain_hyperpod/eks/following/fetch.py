"""Bringing the results of a job here, from S3; those on a volume are where it is mounted."""

from __future__ import annotations

from pathlib import Path

from smtrain.plugin import ExitCode, Observer, Receipt, aws, fail, runs, s3_results
from smtrain_hyperpod.eks import submission


def fetch(run_dir: Path, receipt: Receipt, *, parts: tuple[str, ...], observer: Observer) -> tuple[Path, ...]:
    """Fetches results, and returns the files and folders that are there now.

    Args:
      run_dir: the run's folder.
      receipt: its receipt.
      parts: of "model", "checkpoints", "metrics".
      observer: is told what is fetched, and what there is none of.

    Raises:
      SmtrainError: they are on a volume; or AWS refused, or cannot be reached.
    """
    job = submission.read(run_dir, receipt)
    if not job.output_uri:
        what = f"The results are on a volume of the pods, in {job.output_folder}, which is not reached from here."
        fix = "Copy them where the volume is mounted, or keep results in S3: storage.output=s3://BUCKET/PREFIX."
        raise fail(what, fix, code=ExitCode.MISSING_HERE)
    results = s3_results.Results(
        client=aws.Client("s3", job.region),
        output_uri=job.output_uri,
        run_dir=run_dir,
        progress=run_dir / runs.WORK / job.progress if job.progress else None,
        observer=observer,
    )
    fetchers = {"model": results.model, "checkpoints": results.checkpoints, "metrics": results.metrics}
    found = tuple(path for part, fetcher in fetchers.items() if part in parts for path in fetcher())
    if not found and "model" in parts:
        observer.line(f"smtrain: there is no model at {job.output_uri}/output/")
    return found
