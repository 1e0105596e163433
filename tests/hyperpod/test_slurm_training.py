"""Real trainings over sbatch: two nodes, two processes on each, from the command to the adapter."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from commands import Smtrain
from slurm_jobs import submit, until

from smtrain.errors import ExitCode

pytest_plugins = ("slurm_runs",)
pytestmark = [pytest.mark.slow, pytest.mark.train]

ROWS = [{"instruction": f"Name sea number {number}.", "input": "", "output": "The Baltic."} for number in range(64)]

# With torch 2.13 and gloo, a process that leaves its finished training while others still save may abort: now and then
# on a busy machine, and torchrun then ends the others.
ABORTED = "terminate called without an active exception"


@pytest.fixture
def training(words, smtrain, tiny_model) -> tuple[str, ...]:
    """The overrides of a training on the tiny model."""
    del smtrain  # which goes to its folder first
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return (
        *(word for word in words if not word.startswith("trainer=")),
        "compute.processes_per_node=2",
        f"++backend.python={sys.executable}",
        "model=custom",
        f"model.path={tiny_model}",
    )


def losses(run_id: str) -> dict[int, float]:
    rows = map(json.loads, Path("runs", run_id, "metrics.jsonl").read_text().splitlines())
    return {row["step"]: row["loss"] for row in rows if "loss" in row}


def trained(smtrain: Smtrain, *words: str) -> str:
    """Trains, and returns the run's id; a run that torch's abort ended, and nothing else, is started afresh."""
    for attempt in (1, 2, 3):  # `resume=never` is refused once a run has had a job
        answer = smtrain("run", *words, f"attempt={attempt}", "--json")
        if answer.code != ExitCode.WORKLOAD_FAILED or ABORTED not in smtrain("logs", answer.document["run_id"]).out:
            break
    assert answer.code == 0, answer.out[-3000:] + answer.err[-3000:]
    return str(answer.document["run_id"])


def test_llamafactory_trains_on_two_nodes(training, smtrain) -> None:
    words = (*training, "trainer=lf_sft", "model.template=default", "data=alpaca", "data.path=rows.jsonl")
    steps = ("trainer.args.logging_steps=1", "trainer.args.max_steps=4", "trainer.args.save_steps=2")
    run_id = trained(smtrain, *words, *steps)
    found = losses(run_id)
    assert list(found) == [1, 2, 3, 4]
    assert 6 < found[1] < 8  # of an untrained model with a vocabulary of 1000
    assert smtrain("fetch", run_id, "--model", "--checkpoints").code == 0
    output = Path("runs", run_id, "output", "train")
    assert (output / "adapter_model.safetensors").stat().st_size > 0
    assert {path.name for path in output.glob("checkpoint-*")} == {"checkpoint-2", "checkpoint-4"}


def test_preferences_are_trained_and_a_stopped_training_goes_on(training, smtrain, shared, tmp_path) -> None:
    words = (*training, "trainer=native_dpo", "trainer.max_length=256", "trainer.precision=fp32")
    words = (*words, f"++trainer.cache_dir={tmp_path / 'cache'}")
    steps = ("trainer.max_steps=400", "++trainer.checkpoints.every=2", "global_batch_size=8")
    run_id, _ = submit(smtrain, *words, *steps)
    until(lambda: list(shared.glob("runs/*/output/train/checkpoint-4/*")), timeout_s=180)
    assert smtrain("stop", run_id).code == 0
    until(lambda: smtrain("status", run_id, "--json").document["state"] == "stopped", timeout_s=90)
    submit(smtrain, *words, *steps)
    until(lambda: "going on from" in smtrain("logs", run_id).out, timeout_s=120)
    smtrain("stop", run_id)
    smtrain("stop", run_id)


def test_the_evaluation_of_a_training_is_a_job_on_one_node(training, smtrain, shared, slurm_machine) -> None:
    words = (*training, "trainer=lf_sft", "model.template=default", "data=alpaca", "data.path=rows.jsonl")
    steps = ("trainer.args.max_steps=2", "++trainer.args.val_size=0.25", "trainer.evaluate.enabled=true")
    run_id = trained(smtrain, *words, *steps, "++backend.steps.evaluate={nodes: 1}")
    _, second = json.loads(Path("runs", run_id, "receipt.json").read_text())["job"].split(",")
    assert slurm_machine.field(second, "NumNodes") == "1"
    results = json.loads((shared / "runs" / run_id / "output" / "evaluate" / "eval_results.json").read_text())
    assert 6 < results["eval_loss"] < 8
