"""agent.json as the compiler writes it is what the agent reads; the agent's files run without smtrain."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from agent_runs import write_agent

from smtrain import agent_document
from smtrain.agent import plan
from smtrain.agent_document import ControlOptions, InstallOptions, UploadOptions
from smtrain.agent_files import agent_files
from smtrain.spec import Input, Needs, Output, OutputKind, Package, Program, Progress, Staging

PROGRAM = Program(
    steps=(),
    inputs=(
        Input(name="model", uri="s3://b/ü model/", staging=Staging.COPY, path="model"),
        Input(name="data-train", uri="s3://b/x.jsonl", staging=Staging.COPY, path="data/x.jsonl"),
        Input(name="here", uri="/fsx/x", staging=Staging.IN_PLACE, path="here"),
    ),
    outputs=(
        Output(
            name="model",
            path="output",
            kinds=(OutputKind.MODEL, OutputKind.CHECKPOINTS),
            checkpoint_glob="checkpoint-*",
            checkpoint_complete="trainer_state.json",
        ),
        Output(name="logs", path="logs", kinds=(OutputKind.LOGS,)),
    ),
    needs=Needs(packages=(Package(name="llamafactory", specifier="==0.9.5"),)),
    progress=Progress(path="output/trainer_log.jsonl", step="current_steps", total="total_steps", metrics={}),
)


def written() -> bytes:
    return agent_document.document(
        PROGRAM,
        secrets={"HF_TOKEN": "secretsmanager:x#y", "B": "env:C"},
        install=InstallOptions(wheels_dir="${SMTRAIN_WHEELS}", requirements="program/requirements.txt"),
        upload=UploadOptions(model_dir=("model",), keep_checkpoints=3),
        control=ControlOptions(connect_s=60),
        files=("data-train",),
    )


def test_the_agent_reads_what_the_compiler_writes(tmp_path: Path) -> None:
    path = tmp_path / "agent.json"
    path.write_bytes(written())
    found = plan.load(path, {"SMTRAIN_WHEELS": "/opt/ml/wheels"})
    assert [(one.name, one.variable, one.uri, one.file) for one in found.inputs] == [
        ("model", "SMTRAIN_INPUT_MODEL", "s3://b/ü model/", None),
        ("data-train", "SMTRAIN_INPUT_DATA_TRAIN", "s3://b/x.jsonl", True),
    ]
    assert [(one.name, one.model, one.checkpoint_glob, one.keep) for one in found.outputs] == [
        ("model", True, "checkpoint-*", 3),
        ("logs", False, "", 3),
    ]
    assert found.install.packages == (("llamafactory", "==0.9.5"),)
    assert found.install.wheels_dir == "/opt/ml/wheels"
    assert found.install.requirements == str(tmp_path / "program/requirements.txt")
    assert found.secrets == {"HF_TOKEN": "secretsmanager:x#y", "B": "env:C"}
    assert found.progress == plan.Progress(path="output/trainer_log.jsonl", step="current_steps")
    assert found.upload.model_dir == ("model",)
    assert found.control.connect_s == 60


def test_the_two_halves_agree_on_the_format() -> None:
    assert agent_document.FORMAT == plan.FORMAT


def test_the_same_program_gives_the_same_bytes() -> None:
    assert written() == written()
    assert agent_files() == agent_files()


def test_the_agent_runs_alone_in_an_isolated_interpreter(tmp_path: Path) -> None:
    folder = write_agent(tmp_path)
    done = subprocess.run((sys.executable, "-I", "-S", str(folder)), capture_output=True, text=True, check=False)
    assert done.returncode == 78
    assert done.stderr == "smtrain: usage: python3 agent AGENT.json -- COMMAND..., or --install\n"


def test_the_agent_imports_the_standard_library_and_itself() -> None:
    for file in agent_files():
        assert isinstance(file.content, bytes)
        tree = ast.parse(file.content, feature_version=(3, 10))
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.startswith("smtrain.agent") or name.partition(".")[0] in sys.stdlib_module_names, file.path
