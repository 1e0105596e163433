"""From the command to the trained model: both trainers, on their shipped examples, here and as SageMaker would."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import smtrain

pytestmark = [pytest.mark.slow, pytest.mark.train]

SHORT = ("compute=cpu", "model=custom", "global_batch_size=8", "trainer.max_length=256", "trainer.precision=fp32")


def test_preferences_are_trained_here_and_the_adapter_is_merged(tmp_path: Path, tiny_model: Path):
    words = (*SHORT, f"model.path={tiny_model}", "trainer=native_dpo", "trainer.export.enabled=true")
    answer = smtrain("run", *words, "--json", cwd=tmp_path, env={"SMTRAIN_CACHE_DIR": str(tmp_path / "cache")})
    assert answer.code == 0, answer.out + answer.err
    run_dir = tmp_path / answer.document["run_dir"]
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5]
    assert rows[0]["loss"] == pytest.approx(0.6931, abs=1e-4)
    assert (run_dir / "output" / "train" / "adapter_model.safetensors").stat().st_size > 0
    assert (run_dir / "output" / "export" / "model.safetensors").stat().st_size > 0


def test_responses_are_trained_by_two_processes_and_a_sweep_tokenises_once(tmp_path: Path, tiny_model: Path):
    words = (*SHORT, f"model.path={tiny_model}", "trainer=native_sft", "strategy=ddp", "compute.processes_per_node=2")
    rates = "trainer.optimizer.learning_rate=1e-3,1e-4"
    answer = smtrain("-m", *words, rates, cwd=tmp_path, env={"SMTRAIN_CACHE_DIR": str(tmp_path / "cache")})
    assert answer.code == 0, answer.out + answer.err
    logs = sorted(path.read_text() for path in (tmp_path / "runs").glob("*/logs/workload.log"))
    assert len(logs) == 2
    assert sum("(made now)" in log for log in logs) == 1
    assert len(list((tmp_path / "runs").glob("smtrain-*/output/train/adapter_model.safetensors"))) == 2


def test_two_hosts_of_a_training_job_are_rehearsed(tmp_path: Path, tiny_model: Path):
    words = (
        *("backend=trainingjob", "backend.role=arn:aws:iam::123456789012:role/training", "backend.region=us-east-1"),
        *("storage.output=s3://bucket/runs", "compute.instance_type=ml.m5.xlarge", "compute.nodes=2", "strategy=ddp"),
        *("trainer=native_dpo", "model.path=s3://bucket/models/tiny", *SHORT),
    )
    answer = smtrain("rehearse", *words, "--input", f"model={tiny_model}", "--json", cwd=tmp_path)
    assert answer.code == 0, answer.out[-4000:] + answer.err[-4000:]
    run_dir = tmp_path / answer.document["run_dir"]
    names = {path.name for path in run_dir.glob("results/output/**/*") if path.is_file()}
    assert {"adapter_model.safetensors", "metrics.jsonl"} <= names, names
