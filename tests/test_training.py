"""Real trainings of the tiny model on this machine's CPU, through the whole compiler and LLaMA-Factory itself."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from agent_runs import until
from held_training import hold

pytest.importorskip("llamafactory", reason="the extra `llamafactory` brings it")
pytestmark = [pytest.mark.train, pytest.mark.slow]

SHORT = (
    "compute=cpu",
    "model.template=chatml",
    "trainer.args.max_steps=4",
    "trainer.args.logging_steps=1",
    "trainer.args.cutoff_len=128",
)


def smtrain(folder: Path, *words: str, code: int = 0) -> dict[str, Any]:
    """Runs the command as a user would and returns its JSON result."""
    done = subprocess.run(
        [sys.executable, "-m", "smtrain.cli", *words, "--json"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}\n{_log(folder)[-9000:]}"
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _log(folder: Path) -> str:
    return "\n".join(path.read_text() for path in folder.glob("runs/*/logs/workload.log"))


def losses(folder: Path, result: dict[str, Any]) -> list[float]:
    lines = (folder / result["run_dir"] / "metrics.jsonl").read_text().splitlines()
    return [row["loss"] for row in map(json.loads, lines) if "loss" in row]


TORCH_ABORTED = "terminate called without an active exception"
"""torch 2.13 with gloo: now and then a rank that leaves a finished training first aborts in destroy_process_group."""


def train(folder: Path, model: Path, *words: str, tries: int = 3) -> dict[str, Any]:
    """Trains; a run that torch's own race at exit ended, and nothing else, is started afresh."""
    command = [sys.executable, "-m", "smtrain.cli", "run", f"model.path={model}", *SHORT, *words, "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode == 1 and TORCH_ABORTED in _log(folder) and tries > 1:
        shutil.rmtree(folder / "runs")
        return train(folder, model, *words, tries=tries - 1)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{_log(folder)[-9000:]}"
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


STAGES: dict[str, Sequence[str]] = {
    "sft-lora": ("trainer=lf_sft",),
    "sft-full": ("trainer=lf_sft", "tuning=full"),
    "sft-freeze": ("trainer=lf_sft", "tuning=freeze"),
    "dpo": ("trainer=lf_dpo",),
    "kto": ("trainer=lf_kto", "micro_batch_size=2"),
    "rm": ("trainer=lf_rm",),
    "pt": ("trainer=lf_pt",),
    "ddp": ("strategy=ddp", "compute.processes_per_node=2"),
    "zero2": ("strategy=zero2", "compute.processes_per_node=2"),
    "zero2-accelerate": ("strategy=zero2", "launcher=accelerate", "compute.processes_per_node=2"),
}


@pytest.fixture(scope="module")
def trainings(
    request: pytest.FixtureRequest, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[tuple[Path, dict[str, Any]]]]]:
    """Folder and result of each stage that is tested; two at a time, since most of so short a training is imports."""
    own = (item for item in request.session.items if item.path == request.path and hasattr(item, "callspec"))
    asked = {item.callspec.params.get("stage") for item in own}
    folders = {stage: tmp_path_factory.mktemp(stage) for stage in STAGES if stage in asked}

    def begin(stage: str) -> tuple[Path, dict[str, Any]]:
        return folders[stage], train(folders[stage], tiny_model, *STAGES[stage])

    with ThreadPoolExecutor(2) as pool:
        yield {stage: pool.submit(begin, stage) for stage in folders}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_trains(stage: str, trainings: dict[str, Future[tuple[Path, dict[str, Any]]]]) -> None:
    folder, result = trainings[stage].result()
    assert result["state"] == "succeeded"
    assert len(losses(folder, result)) == 4
    run_dir = folder / result["run_dir"]
    assert (run_dir / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert list(run_dir.glob("output/**/*.safetensors"))


def test_zero2_reaches_the_losses_of_ddp(tiny_model: Path, tmp_path: Path) -> None:
    two = ("compute.processes_per_node=2", "tuning=full", "trainer.args.warmup_steps=0")

    def trained(strategy: str) -> list[float]:
        folder = tmp_path / strategy
        folder.mkdir()
        return losses(folder, train(folder, tiny_model, f"strategy={strategy}", *two))

    with ThreadPoolExecutor(2) as pool:
        ddp, zero = pool.map(trained, ("ddp", "zero2"))
    assert zero == pytest.approx(ddp, rel=1e-3)


def test_training_then_merging_then_predicting(tiny_model: Path, tmp_path: Path) -> None:
    rows = tmp_path / "dev.jsonl"
    rows.write_text('{"instruction": "Say hello.", "input": "", "output": "Hello."}\n' * 3)
    result = train(
        tmp_path, tiny_model,
        "trainer.export.enabled=true", "trainer.predict.enabled=true", f"data.eval_path={rows}",
        "trainer.args.max_new_tokens=4", "trainer.args.per_device_eval_batch_size=2",
    )  # fmt: skip
    run_dir = tmp_path / result["run_dir"]
    merged = [path.parent for path in run_dir.glob("output/**/config.json")]
    assert merged, "the merged model has a config.json"
    assert list(run_dir.glob("output/**/generated_predictions.jsonl"))


def test_a_failing_step_fails_the_run_and_later_steps_do_not_run(tiny_model: Path, tmp_path: Path) -> None:
    words = [f"model.path={tiny_model}", *SHORT, "trainer.export.enabled=true", "env.LLAMAFACTORY_VERBOSITY=WARN"]
    # What cannot be known at compile time: the target's own environment refuses to load the model.
    broken = tmp_path / "broken"
    subprocess.run(["cp", "-r", str(tiny_model), str(broken)], check=True)
    weights = next(broken.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:100])
    result = smtrain(tmp_path, "run", *words, f"model.path={broken}", code=1)
    assert result["state"] == "failed"
    assert result["step"] == "train"
    assert result["exit_code"] == 1
    assert not list((tmp_path / result["run_dir"]).glob("output/export*/*.safetensors"))


def test_a_run_that_succeeded_is_not_run_again_unless_asked(tiny_model: Path, tmp_path: Path) -> None:
    words = ("trainer.args.max_steps=1",)
    first = train(tmp_path, tiny_model, *words)
    again = train(tmp_path, tiny_model, *words)
    assert again["started"] == first["started"]
    other = train(tmp_path, tiny_model, *words, "attempt=2")
    assert other["run_id"] == f"{first['run_id']}-2"
    assert losses(tmp_path, other) == losses(tmp_path, first)


def test_an_interrupted_run_goes_on_from_its_last_checkpoint(tiny_model: Path, tmp_path: Path) -> None:
    words = [f"model.path={tiny_model}", *SHORT, "trainer.args.max_steps=15", "trainer.args.save_steps=5"]
    command = [sys.executable, "-m", "smtrain.cli", "run", *words]
    env = {**os.environ, "PYTHONPATH": str(hold(tmp_path / "held", 10, go=tmp_path / "go"))}
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: list(tmp_path.glob("runs/*/output/**/checkpoint-5/trainer_state.json")), 120)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=90) == 130
    (run_dir,) = tmp_path.glob("runs/smtrain-*")
    assert [path.name for path in run_dir.glob("output/**/checkpoint-*")] == ["checkpoint-5"]
    bundle = yaml.safe_load((run_dir / "bundle" / "manifest.json").read_text())["run_id"]
    result = smtrain(tmp_path, "submit", str(run_dir))
    assert result["run_id"] == bundle
    log = (run_dir / "logs" / "workload.log").read_text()
    assert "/checkpoint-5\n" in log
    reported = [json.loads(line)["step"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert sorted(set(reported)) == list(range(1, 16))


def test_a_sweep_returns_the_objective_to_its_sweeper(tiny_model: Path, tmp_path: Path) -> None:
    words = [f"model.path={tiny_model}", *SHORT, "trainer.args.max_steps=2", "objective=loss"]
    done = subprocess.run(
        [sys.executable, "-m", "smtrain.cli", "-m", *words, "trainer.args.learning_rate=1e-4,2e-4", "--json"],
        cwd=tmp_path, capture_output=True, text=True, check=True, env={**os.environ, "HYDRA_FULL_ERROR": "1"},
    )  # fmt: skip
    points = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [point["state"] for point in points] == ["succeeded", "succeeded"]
    assert len({point["run_id"] for point in points}) == 2


@pytest.mark.real_model
def test_the_real_model_learns(smollm2: Path, tmp_path: Path) -> None:
    rows = [{"instruction": f"What is {n} in Ternish?", "input": "", "output": f"It is tirri{n}."} for n in range(4)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = smtrain(
        tmp_path, "run", f"model.path={smollm2}", "model.template=smollm2", "compute=cpu", "micro_batch_size=4",
        "data=alpaca", "data.path=rows.jsonl", "trainer.args.max_steps=8", "trainer.args.logging_steps=1",
        "trainer.args.cutoff_len=128", "trainer.args.warmup_steps=0", "trainer.args.learning_rate=1e-3",
    )  # fmt: skip
    found = losses(tmp_path, result)
    assert len(found) == 8
    assert found[-1] < found[0] / 2, "the same four rows in every step"
