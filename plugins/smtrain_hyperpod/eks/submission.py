"""submission.json: where a bundle's job goes, and by what it is looked after; `backend` writes it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from msgspec import ValidationError, convert

from smtrain.plugin import ExitCode, Json, Receipt, fail

FILE = "submission.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """Where a job goes.

    Attributes:
      kind: of the job, e.g. "PyTorchJob".
      resource: what kubectl calls jobs of this kind.
      context: of kubectl's configuration; "" is the current one.
      namespace: "" is the context's.
      config_maps: names of those that the job mounts.
      output_uri: s3:// URI of the run's own folder, without a slash at its end; "" where it is elsewhere.
      output_folder: the run's own folder on a volume of the pods; "" where it is elsewhere.
      region: of the bucket; "" takes the account's default.
      nodes: pods of the job.
      grace_s: seconds that pods have to end.
      longest_name: characters of a job's name.
      usd_per_hour: of all nodes; None when nobody knows.
      in_place: inputs of the program that the pods have already.
      progress: path of the program's progress file in its working directory; "" when it writes none.
    """

    kind: str
    resource: str
    context: str
    namespace: str
    config_maps: tuple[str, ...]
    output_uri: str
    output_folder: str
    region: str
    nodes: int
    grace_s: int
    longest_name: int
    usd_per_hour: float | None
    in_place: tuple[str, ...]
    progress: str


def render(submission: Submission) -> bytes:
    """Returns the content of submission.json."""
    from msgspec import to_builtins

    return (json.dumps(to_builtins(submission), indent=2, ensure_ascii=False) + "\n").encode()


def parse(document: Json) -> Submission:
    """Returns the submission of a document.

    Raises:
      SmtrainError: it is none.
    """
    try:
        return convert(document, Submission)
    except ValidationError as error:
        what = f"{FILE} does not say where the job goes: {error}."
        raise fail(what, "Compile the bundle again.", code=ExitCode.MISSING_HERE) from error


def read(run_dir: Path, receipt: Receipt) -> Submission:
    """Returns the submission of a run's bundle.

    Raises:
      SmtrainError: the bundle is damaged.
    """
    path = run_dir / "bundle" / FILE
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        what = f"The bundle `{path.parent}` no longer says where its job is: {error}."
        fix = f"The job is `{receipt.job or receipt.run_id}`; look after it with kubectl."
        raise fail(what, fix, code=ExitCode.MISSING_HERE) from error
