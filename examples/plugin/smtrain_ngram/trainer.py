"""The trainer `ngram`: a job becomes one step that runs `train_ngram.py`, which travels with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import PurePath
from typing import Annotated

from msgspec import Meta

from smtrain.plugin import (
    Dataset,
    Demands,
    Input,
    Job,
    Output,
    OutputKind,
    Problem,
    Program,
    Progress,
    RowShape,
    Run,
    RuntimeVar,
    Staging,
    Step,
    TextFile,
    columns,
)

SCRIPT, CONFIG = "train_ngram.py", "ngram.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class NgramOptions:
    """A character n-gram model."""

    order: Annotated[int, Meta(ge=1, le=20, description="Characters in an n-gram.")] = 3
    smoothing: Annotated[float, Meta(gt=0, description="Added to every count, so that nothing is impossible.")] = 0.1


class Ngram:
    """Trains a character n-gram model with the standard library."""

    def demands(self, run: Run, options: NgramOptions) -> Demands:
        """Asks for rows of text, which are read once."""
        del run, options
        return Demands(rows=RowShape.TEXT, epochs=1.0)

    def check(self, job: Job, options: NgramOptions) -> Iterator[Problem]:
        """Yields what the script could not do."""
        del options
        if job.topology.world_size > 1:
            what = f"n-grams are counted in one process, not {job.topology.world_size}."
            yield Problem(key="compute", what=what, fix="Set compute.nodes=1 and compute.processes_per_node=1.")
        for dataset in job.datasets:
            suffixes = {file.path.suffix for file in dataset.files}
            if dataset.source != "file" or not suffixes <= {".jsonl", ".txt"} or dataset.role != "train":
                what = f"`{dataset.location}` is not a local .jsonl or .txt file to train on, all that is read."
                yield Problem(key=dataset.key, what=what, fix="Convert it, or leave it out.")

    def lower(self, job: Job, options: NgramOptions) -> Program:
        """Returns the program. Its files name things by relative path; only the target knows where they really are."""
        inputs = tuple(_input(number, dataset) for number, dataset in enumerate(job.datasets, start=1))
        config = {
            "order": options.order,
            "smoothing": options.smoothing,
            "batch_size": job.batch.global_size,
            "seed": job.run.seed,
            "rows": [
                {"path": item.path, "column": columns.effective_columns(dataset)["prompt"]}
                for item, dataset in zip(inputs, job.datasets, strict=True)
            ],
            "output": "model",
        }
        script = resources.files("smtrain_ngram").joinpath(SCRIPT).read_text(encoding="utf-8")
        return Program(
            steps=(Step(name="train", argv=(RuntimeVar.PYTHON, SCRIPT, CONFIG)),),
            files=(TextFile(path=SCRIPT, text=script), TextFile(path=CONFIG, text=json.dumps(config, indent=2) + "\n")),
            inputs=inputs,
            outputs=(Output(name="model", path="model", kinds=(OutputKind.MODEL, OutputKind.LOGS)),),
            progress=Progress(path="model/progress.jsonl", step="step", total="total", metrics={"loss": "loss"}),
        )


def _input(number: int, dataset: Dataset) -> Input:
    """One file is linked at the path itself, several inside it; the user's names stay out of both."""
    suffix = PurePath(dataset.files[0].path).suffix if len(dataset.files) == 1 else ""
    return Input(
        name=f"rows-{number}",
        uri=dataset.location,
        staging=Staging.BUNDLED,
        path=f"rows/{number}{suffix}",
        files=dataset.files,
    )
