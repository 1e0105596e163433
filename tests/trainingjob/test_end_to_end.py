"""From the command to the adapter: real LLaMA-Factory, on hosts of a SageMaker that executes what it is sent."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import util
from pathlib import Path

import pytest
from agent_runs import until
from commands import COMMAND, Answer
from held_training import hold
from plain_jobs import job_environment
from sagemaker_service import SageMakerService

pytestmark = [pytest.mark.slow, pytest.mark.train]

BUCKET = "smtrain-tests"
ROWS = [{"instruction": f"Name sea number {number}.", "input": "", "output": "The Baltic."} for number in range(64)]


@pytest.fixture
def service(tmp_path: Path, tiny_model: Path) -> Iterator[SageMakerService]:
    """SageMaker, with the tiny model and rows in its S3."""
    inherited = {
        name: os.environ[name] for name in ("HF_HUB_OFFLINE", "TOKENIZERS_PARALLELISM", "TORCH_EXTENSIONS_DIR")
    }
    with SageMakerService(tmp_path / "sagemaker", job_environment={**inherited, **job_environment()}) as running:
        s3 = running.client("s3")
        s3.create_bucket(Bucket=BUCKET)
        for path in tiny_model.iterdir():
            s3.upload_file(str(path), BUCKET, f"models/tiny/{path.name}")
        rows = "".join(json.dumps(row) + "\n" for row in ROWS)
        s3.put_object(Bucket=BUCKET, Key="rows/train.jsonl", Body=rows.encode())
        yield running


class Client:
    """A person at a shell of this machine."""

    def __init__(self, service: SageMakerService, folder: Path) -> None:
        self.service = service
        self.folder = folder
        self.env = {**os.environ, **service.environment()}
        self.words = (
            "backend=trainingjob", f"backend.role={service.role}", "backend.region=us-east-1",
            f"storage.output=s3://{BUCKET}/runs", "compute.instance_type=ml.m5.xlarge", "compute.accelerator=cpu",
            "compute.nodes=2", "compute.processes_per_node=2", "strategy=ddp", "trainer=lf_sft", "model=custom",
            f"model.path=s3://{BUCKET}/models/tiny", "model.template=default", "data=alpaca",
            f"data.path=s3://{BUCKET}/rows/train.jsonl", "trainer.args.logging_steps=1", "trainer.args.max_steps=4",
            "trainer.args.save_steps=2", "backend.checkpoints.interval_s=1", "backend.grace_s=15",
        )  # fmt: skip

    def __call__(self, *words: str) -> Answer:
        done = subprocess.run(
            (*COMMAND, *words), cwd=self.folder, env=self.env, capture_output=True, text=True, check=False, timeout=500
        )
        return Answer(code=done.returncode, out=done.stdout, err=done.stderr)

    def keys(self, prefix: str) -> list[str]:
        found = self.service.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=prefix)
        return sorted(each["Key"] for each in found.get("Contents", ()))


@pytest.fixture
def client(service: SageMakerService, tmp_path: Path) -> Client:
    """The command, in an empty folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    return Client(service, folder)


def losses(folder: Path, run_id: str) -> dict[int, float]:
    rows = map(json.loads, (folder / "runs" / run_id / "metrics.jsonl").read_text().splitlines())
    return {row["step"]: row["loss"] for row in rows if "loss" in row}


def loads(adapter: Path, model: Path) -> bool:
    """Whether peft puts the adapter on the model, and the result computes."""
    source = f"""
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained({str(model)!r}), {str(adapter)!r})
print(bool(torch.isfinite(model(torch.tensor([[1, 2, 3]])).logits).all()))
"""
    done = subprocess.run((sys.executable, "-c", source), capture_output=True, text=True, check=True)
    return done.stdout.strip() == "True"


def test_a_job_on_two_hosts_is_submitted_followed_and_fetched(
    client: Client, service: SageMakerService, tiny_model: Path
) -> None:
    answer = client("run", *client.words, "--json")
    assert answer.code == 0, answer.out[-3000:] + answer.err[-3000:]
    receipt = answer.document
    run_id = receipt["run_id"]
    assert (receipt["state"], receipt["job"], receipt["tries"]) == ("succeeded", run_id, 1)
    assert client("status", run_id).code == 0
    log = client("logs", run_id).out
    assert "algo-1" in log
    assert "algo-2" in log
    assert client("fetch", run_id).code == 0
    adapter = client.folder / "runs" / run_id / "output" / "train"
    assert (adapter / "adapter_model.safetensors").stat().st_size > 0
    assert loads(adapter, tiny_model)
    assert sorted(losses(client.folder, run_id)) == [1, 2, 3, 4]
    assert {key.split("/")[4] for key in client.keys(f"runs/{run_id}/checkpoints/train/")} == {
        "checkpoint-2",
        "checkpoint-4",
    }
    # Submitted once more, it is there: nothing is sent, nothing made.
    made = len([1 for operation, _ in service.calls if operation == "CreateTrainingJob"])
    assert client("run", *client.words, "--json").document["state"] == "succeeded"
    assert made == len([1 for operation, _ in service.calls if operation == "CreateTrainingJob"]) == 1


@pytest.mark.skipif(util.find_spec("deepspeed") is None, reason="deepspeed is not installed")
def test_zero2_trains_across_two_hosts(client: Client) -> None:
    words = [word for word in client.words if not word.startswith("strategy=")]
    answer = client("run", *words, "strategy=zero2", "trainer.args.max_steps=2", "--json")
    assert answer.code == 0, answer.out[-3000:] + answer.err[-3000:]
    run_id = answer.document["run_id"]
    # Each host writes the shards of its own processes; together they are the whole checkpoint.
    names = {key.rpartition("/")[2] for key in client.keys(f"runs/{run_id}/checkpoints/train/checkpoint-2/")}
    shards = {name for name in names if name.endswith("_optim_states.pt")}
    assert len(shards) == 4


def test_a_stopped_job_goes_on_to_the_same_last_step(client: Client) -> None:
    """Of one process a host: several on CPUs cannot resume under transformers 5.6."""
    words = [word for word in client.words if not word.startswith(("compute.nodes=", "compute.processes", "strategy="))]
    words += ["trainer.args.max_steps=12", "trainer.args.save_steps=4", "trainer.args.learning_rate=0.001"]
    go = client.folder / "go"
    words.append(f"backend.source_dir={hold(client.folder / 'source', 8, go=go)}")
    submitted = client("run", *words, "--detach", "--json")
    assert submitted.code == 0, submitted.out + submitted.err
    run_id = submitted.document["run_id"]
    saved = f"runs/{run_id}/checkpoints/train/checkpoint-4/.smtrain/node-0.json"
    until(lambda: client.keys(saved), 200)
    assert client("stop", run_id).code == 0
    assert client("status", run_id, "--json").document["state"] == "stopped"
    go.touch()
    again = client("run", *words, "--json")
    assert again.code == 0, again.out[-3000:] + again.err[-3000:]
    assert (again.document["job"], again.document["tries"]) == (f"{run_id}-t2", 2)
    log = client("logs", run_id).out
    assert re.search("going on from .*/checkpoint-4$", log, re.MULTILINE), log
    curve = losses(client.folder, run_id)
    assert sorted(curve) == list(range(1, 13))
