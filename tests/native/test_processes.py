"""Two processes, joined by gloo: DDP and ZeRO have the losses of one process."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
from importlib import util
from pathlib import Path

import native_trainings as runs
import pytest
from smtrain_native.runtime import reference, train
from smtrain_native.runtime.settings import Evaluation, Parallel, Settings, Training, Tuning

pytestmark = [pytest.mark.train, pytest.mark.slow]

GATHERS = {"stage3_gather_16bit_weights_on_model_save": True}


def launched(folder: Path, module: str, *words: str) -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    done = subprocess.run(
        (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={port}",
         "-m", f"smtrain_native.runtime.{module}", "native.json", *words),
        cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def settings(folder: Path, model: Path, kind: str, tuning: str) -> Settings:
    return dataclasses.replace(
        runs.training(folder, model, kind=kind),
        tuning=Tuning(kind=tuning, rank=4),
        training=Training(precision="fp32", epochs=1),
        evaluation=Evaluation(every=3),
    )


def spread(folder: Path, run: Settings, stage: int | None) -> Settings:
    if stage is None:
        return dataclasses.replace(run, parallel=Parallel(kind="ddp", device="cpu"))
    document = {"zero_optimization": {**GATHERS, "stage": stage}, "zero_allow_untested_optimizer": True}
    (folder / "deepspeed.json").write_text(json.dumps(document))
    return dataclasses.replace(run, parallel=Parallel(kind="deepspeed", deepspeed="deepspeed.json", device="cpu"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("stage", "kind", "tuning"),
    [(None, "preference", "lora"), (1, "sft", "full"), (2, "preference", "full"), (3, "preference", "full")],
)
def test_two_processes_have_the_losses_of_one(stage: int | None, kind: str, tuning: str, here: Path, tiny_model: Path):
    if stage is not None and util.find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed; the extra `native` brings it")
    alone = settings(here, tiny_model, kind, tuning)
    document = str(runs.document(here, alone))
    if kind == "preference":
        reference.main([document])
    train.main([document])
    wanted, evaluated = runs.losses(here), runs.evaluated(here, "loss")
    shutil.move(here / "output", here / "alone")
    runs.document(here, spread(here, alone, stage))
    if stage == 3:
        shutil.rmtree(here / "cache" / "reference")
        launched(here, "reference")
    launched(here, "train")
    assert runs.losses(here) == pytest.approx(wanted, abs=1e-5)
    assert runs.evaluated(here, "loss") == pytest.approx(evaluated, abs=1e-5)
    assert same_weights(here / "alone", here / "output")
    if stage in (None, 2):
        # A checkpoint goes on, by as many processes, to the same losses.
        launched(here, "train", "--resume=output/checkpoint-4")
        assert runs.losses(here) == pytest.approx(wanted, abs=1e-5)


def same_weights(one: Path, other: Path) -> bool:
    import torch
    from safetensors.torch import load_file

    (file,) = (path.name for path in one.glob("*.safetensors"))
    first, second = load_file(one / file), load_file(other / file)
    return first.keys() == second.keys() and all(torch.allclose(first[key], second[key], atol=2e-4) for key in first)
