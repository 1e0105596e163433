"""A trainer of another distribution that needs nothing: a line of bash on every host."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

PLUGIN = """
from dataclasses import dataclass
from pathlib import Path
from smtrain.plugin import (
    Demands, Input, Output, OutputKind, Program, Progress, Scope, Staging, Step, TrainerSpec, hookimpl
)

@dataclass(frozen=True, kw_only=True)
class Options:
    script: str = "echo hello"
    reads: str = ""
    then: str = ""

class Plain:
    def demands(self, run, options):
        return Demands(rows=None)

    def check(self, job, options):
        return ()

    def lower(self, job, options):
        staging = Staging.IN_PLACE if options.reads.startswith("target:") else Staging.COPY
        return Program(
            steps=(
                Step(name="train", argv=("bash", "-c", options.script), scope=Scope.EVERY_NODE),
                *((Step(name="report", argv=("bash", "-c", options.then)),) if options.then else ()),
            ),
            inputs=(Input(name="model", uri=options.reads, staging=staging, path="model"),) if options.reads else (),
            outputs=(
                Output(
                    name="adapter",
                    path="out",
                    kinds=(OutputKind.MODEL, OutputKind.CHECKPOINTS),
                    checkpoint_glob="checkpoint-*",
                    checkpoint_complete="done",
                ),
            ),
            progress=Progress(path="out/log.jsonl", step="step", total="total", metrics={"loss": "loss"}),
        )

    def shortened(self, job, options, *, steps, on_cpu):
        quote = chr(39)
        script = f"STEPS={steps}; {options.script}".replace(quote, chr(92) + quote)
        return (f"trainer.script={quote}{script}{quote}",)

@hookimpl
def smtrain_trainers():
    return [TrainerSpec(name="plain", load="plain_plugin:Plain", options="plain_plugin:Options", summary="Bash.")]

@hookimpl
def smtrain_config_paths():
    return [f"file://{Path(__file__).parent / 'plain_conf'}"]
"""


@pytest.fixture
def plain_trainer(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Installs the trainer, for this process and those that it starts; returns the folder that it lies in."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "plain_plugin.py").write_text(textwrap.dedent(PLUGIN))
    (folder / "plain_conf" / "trainer").mkdir(parents=True)
    (folder / "plain_conf" / "trainer" / "plain.yaml").write_text("name: plain\n")
    about = folder / "plain-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: plain\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[smtrain]\nplain = plain_plugin\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH")))))
    yield folder
    sys.modules.pop("plain_plugin", None)
