"""What a submitted bundle says of its job: the names and places by which the job is looked after."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from smtrain.plugin import ExitCode, Json, Receipt, fail


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A job that was asked for.

    Attributes:
      job: its name.
      names: those of all tries, the first one first.
      hosts: how many.
      region: where it runs.
      output_uri: s3:// URI of the run's own folder, without a slash at the end.
      usd_per_hour: of all its hosts; None when nobody knows.
      progress: path of the program's progress file in its working directory; "" when it writes none.
    """

    job: str
    names: tuple[str, ...]
    hosts: int
    region: str
    output_uri: str
    usd_per_hour: float | None
    progress: str


def read(run_dir: Path, receipt: Receipt) -> Submitted:
    """Returns what the bundle in a run's folder says.

    Raises:
      SmtrainError: the bundle is damaged.
    """
    bundle = run_dir / "bundle"
    try:
        request = _object(json.loads((bundle / "request.json").read_text(encoding="utf-8")))
        manifest = _object(json.loads((bundle / "manifest.json").read_text(encoding="utf-8")))
        return _submitted(request, manifest, receipt)
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        what = f"The bundle `{bundle}` no longer says which job it is: {error}."
        fix = f"The job is `{receipt.job or receipt.run_id}`; look after it in SageMaker's console."
        raise fail(what, fix, code=ExitCode.MISSING_HERE) from error


def hosts(request: Mapping[str, Json]) -> int:
    """Returns how many hosts a CreateTrainingJob request asks for."""
    resources = _object(request["ResourceConfig"])
    groups = resources.get("InstanceGroups")
    counts = [_object(group)["InstanceCount"] for group in groups] if isinstance(groups, list) and groups else []
    return sum(int(str(count)) for count in counts or [resources.get("InstanceCount", 1)])


def _submitted(request: Mapping[str, Json], manifest: Mapping[str, Json], receipt: Receipt) -> Submitted:
    first = str(request["TrainingJobName"])
    calls = [action for action in cast("list[dict[str, Json]]", manifest["actions"]) if action["do"] == "call"]
    cost, progress = manifest.get("cost"), manifest.get("progress")
    return Submitted(
        job=receipt.job or first,
        # As core names them when a job that failed is tried again.
        names=(first, *(f"{first}-t{number}" for number in range(2, receipt.tries + 1))),
        hosts=hosts(request),
        region=str(calls[-1]["region"]),
        output_uri=str(_object(request["Environment"])["SMTRAIN_OUTPUT_URI"]).rstrip("/"),
        usd_per_hour=float(str(cost["usd_per_hour"])) if isinstance(cost, dict) else None,
        progress=str(progress["path"]) if isinstance(progress, dict) else "",
    )


def _object(value: Json) -> dict[str, Json]:
    if not isinstance(value, dict):
        message = f"{value!r} is no JSON object"
        raise TypeError(message)
    return value
