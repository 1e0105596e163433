"""Trainings of the tiny model in this process: resumed, interrupted, refused."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import native_trainings as runs
import numpy as np
import pytest
import torch
from native_sets import write_lines
from smtrain_native.runtime import evaluate, export, reference, tokenize, train
from smtrain_native.runtime.checkpoint import Position
from smtrain_native.runtime.ending import UserError
from smtrain_native.runtime.epochs import Epochs, StepBatch
from smtrain_native.runtime.model import Loaded
from smtrain_native.runtime.processes import Processes
from smtrain_native.runtime.samples import Joined
from smtrain_native.runtime.settings import (
    Batching,
    Checkpoints,
    Data,
    Evaluation,
    Loss,
    Model,
    Reports,
    Settings,
    Training,
    Tuning,
)
from transformers import LlamaConfig

pytestmark = pytest.mark.train


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trained(folder: Path, settings: Settings, *more: str) -> None:
    document = str(runs.document(folder, settings))
    if settings.kind == "preference" and settings.loss.kind not in ("simpo", "orpo"):
        assert reference.main([document]) == 0
    assert train.main([document, *more]) == 0


def test_preferences_are_learnt(here: Path, tiny_model: Path):
    trained(here, runs.training(here, tiny_model))
    told = runs.losses(here)
    assert sorted(told) == list(range(1, 13))
    assert told[1] == pytest.approx(0.6931, abs=1e-4)  # log 2: the policy is the reference still
    assert sum(told[step] for step in range(7, 13)) / 6 < 0.65
    assert len(runs.evaluated(here, "accuracy")) == 1


def test_supervised_tuning_learns_and_its_perplexity_is_that_of_the_loss(here: Path, tiny_model: Path):
    trained(here, runs.training(here, tiny_model, kind="sft"))
    told = runs.losses(here)
    assert told[12] < told[1] - 0.5
    (loss,), (perplexity,) = runs.evaluated(here, "loss"), runs.evaluated(here, "perplexity")
    assert perplexity == pytest.approx(2.718281828**loss, rel=1e-6)


@pytest.mark.parametrize("kind", ["ipo", "simpo", "sampo", "orpo"])
def test_every_way_of_counting_learns(kind: str, here: Path, tiny_model: Path):
    settings = runs.training(here, tiny_model)
    trained(here, dataclasses.replace(settings, loss=Loss(kind=kind)))
    told = runs.losses(here)
    assert told[12] < told[1]


def test_a_resumed_training_has_the_same_losses_and_the_same_record(here: Path, tiny_model: Path):
    # LoRA with dropout: the state of the random numbers counts as well.
    settings = dataclasses.replace(
        runs.training(here, tiny_model), tuning=Tuning(kind="lora", rank=4, dropout=0.2), evaluation=Evaluation(every=3)
    )
    trained(here, settings)
    whole = [(row["step"], row.get("loss"), row.get("eval/eval/loss")) for row in runs.metrics(here)]
    torch.manual_seed(1234)
    trained(here, settings, "--resume=output/checkpoint-8")
    assert [(row["step"], row.get("loss"), row.get("eval/eval/loss")) for row in runs.metrics(here)] == whole


def test_only_the_newest_checkpoints_stay_and_each_is_complete(here: Path, tiny_model: Path):
    settings = dataclasses.replace(runs.training(here, tiny_model), checkpoints=Checkpoints(every=2, keep=3))
    trained(here, settings)
    found = sorted(path.name for path in (here / "output").glob("checkpoint-*"))
    assert found == ["checkpoint-10", "checkpoint-12", "checkpoint-8"]
    assert all((here / "output" / name / "complete.json").is_file() for name in found)


def test_an_incomplete_checkpoint_is_refused(here: Path, tiny_model: Path):
    settings = runs.training(here, tiny_model)
    trained(here, settings)
    (here / "output" / "checkpoint-8" / "complete.json").unlink()
    with pytest.raises(UserError, match="no complete checkpoint"):
        train.main([str(here / "native.json"), "--resume=output/checkpoint-8"])


def test_an_asked_end_saves_first_and_goes_on_to_the_same_curve(here: Path, tiny_model: Path):
    settings = runs.training(here, tiny_model)
    settings = dataclasses.replace(
        settings, loss=Loss(kind="simpo"), training=dataclasses.replace(settings.training, epochs=8)
    )
    trained(here, settings)
    whole = runs.losses(here)
    shutil.rmtree(here / "output")
    document = str(here / "native.json")
    asking = threading.Thread(target=ask_once_under_way, args=(here / "output" / "metrics.jsonl",))
    asking.start()
    assert train.main([document]) == train.TERMINATED
    asking.join()
    done = max(runs.losses(here))
    assert not (here / "output" / "model.safetensors").exists()
    trained(here, settings, f"--resume=output/checkpoint-{done}")
    assert runs.losses(here) == whole


def ask_once_under_way(record: Path) -> None:
    """Sends this process SIGTERM once a step is done."""
    while not record.is_file() or not record.read_text():
        time.sleep(0.005)
    os.kill(os.getpid(), signal.SIGTERM)


def test_the_model_is_saved_as_transformers_saves_it(here: Path, tiny_model: Path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    settings = runs.training(here, tiny_model)
    trained(here, dataclasses.replace(settings, loss=Loss(kind="simpo")))
    ids = torch.tensor([[5, 6, 7]])
    after, before = (AutoModelForCausalLM.from_pretrained(each)(ids).logits for each in (here / "output", tiny_model))
    assert bool(torch.isfinite(after).all())
    assert not torch.allclose(after, before)
    assert AutoTokenizer.from_pretrained(here / "output").chat_template is not None
    # What was trained is what was saved: the checkpoint at the last step evaluates to the very loss that was told.
    assert evaluate.main([str(here / "native.json"), "output/checkpoint-12"]) == 0


def test_an_adapter_merges_into_its_model(here: Path, tiny_model: Path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    settings = dataclasses.replace(runs.training(here, tiny_model, kind="sft"), tuning=Tuning(kind="lora", rank=4))
    trained(here, settings)
    assert export.main([str(here / "native.json"), "merged"]) == 0
    ids = torch.tensor([[5, 6, 7]])
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    with_adapter = PeftModel.from_pretrained(base, here / "output")(ids).logits
    merged = AutoModelForCausalLM.from_pretrained(here / "merged")(ids).logits
    torch.testing.assert_close(merged, with_adapter, rtol=1e-4, atol=1e-4)


def test_a_checkpoint_evaluates_to_what_the_training_told(
    here: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
):
    trained(here, runs.training(here, tiny_model))
    (told,) = runs.evaluated(here, "loss")
    capsys.readouterr()
    assert evaluate.main([str(here / "native.json"), "output/checkpoint-12"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["eval/eval/loss"] == pytest.approx(told, abs=1e-7)
    with pytest.raises(UserError, match=r"no evaluation set of this name\. There are: eval"):
        evaluate.main([str(here / "native.json"), "output/checkpoint-12", "--set", "evil"])


@pytest.mark.parametrize(
    ("attends", "told"),
    [
        ("auto", "a row sequence by sequence: there is no such kernel for CPUs"),
        ("separate", "each sequence goes through the model by itself"),
    ],
)
def test_how_rows_attend_is_told(
    here: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str], attends: str, told: str
):
    settings = runs.training(here, tiny_model, kind="sft")
    model = dataclasses.replace(settings.model, attention=attends)
    trained(here, dataclasses.replace(settings, model=model, training=Training(max_steps=1, precision="fp32")))
    assert f"attention: {told}\n" in capsys.readouterr().out


def test_a_sweep_over_beta_computes_the_reference_once(
    here: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
):
    settings = runs.training(here, tiny_model)
    reference.main([str(runs.document(here, settings))])
    assert "pairs of" in capsys.readouterr().out
    other = dataclasses.replace(settings, loss=Loss(kind="ipo", beta=0.7), optimizer=dataclasses.replace(
        settings.optimizer, learning_rate=5e-4
    ))  # fmt: skip
    reference.main([str(runs.document(here, other))])
    assert "found in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (lambda here, settings: write_lines(here / "train.jsonl", runs.rows(49, pairs=True)), "the rows"),
        (lambda here, settings: dataclasses.replace(settings, loss=Loss(kind="sampo")), "SamPO"),
        (
            lambda here, settings: dataclasses.replace(settings, training=Training(precision="bf16")),
            "trainer.precision",
        ),
    ],
)
def test_a_reference_of_something_else_is_refused_with_the_reason(
    changes: Callable[[Path, Settings], object], why: str, here: Path, tiny_model: Path
):
    settings = runs.training(here, tiny_model)
    reference.main([str(runs.document(here, settings))])
    (here / "kept").mkdir()
    for path in (here / "cache" / "reference").glob("*.parquet"):
        import pyarrow.parquet as pq

        name = "train" if pq.read_metadata(path).num_rows == 48 else "eval"
        shutil.copyfile(path, here / "kept" / f"{name}.parquet")
    settings = dataclasses.replace(settings, reference="kept")
    changed = changes(here, settings)
    document = str(runs.document(here, changed if isinstance(changed, Settings) else settings))
    with pytest.raises(UserError, match=why):
        train.main([document])


def test_a_reference_that_is_not_there_says_which_step_makes_it(here: Path, tiny_model: Path):
    with pytest.raises(UserError, match="Run the reference step first"):
        train.main([str(runs.document(here, runs.training(here, tiny_model)))])


def test_a_loss_that_is_not_finite_stops_and_names_the_prompts(here: Path, tiny_model: Path):
    settings = dataclasses.replace(runs.training(here, tiny_model), loss=Loss(kind="simpo", beta=float("inf")))
    document = str(runs.document(here, settings))
    with pytest.raises(UserError, match=r"not finite; prompt_ids of this step: .*p\d+"):
        train.main([document])


def test_steps_that_are_not_finite_are_left_out_where_that_is_asked_for(
    here: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
):
    settings = runs.training(here, tiny_model)
    settings = dataclasses.replace(
        settings,
        loss=Loss(kind="simpo", beta=float("inf")),
        training=dataclasses.replace(settings.training, non_finite="skip"),
    )
    trained(here, settings)
    assert capsys.readouterr().out.count("The step is left out.") == 12
    from safetensors.torch import load_file

    before, after = load_file(tiny_model / "model.safetensors"), load_file(here / "output" / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_budget_below_the_longest_sample_says_the_least_that_works_and_names_it(here: Path, tiny_model: Path):
    settings = dataclasses.replace(
        runs.training(here, tiny_model),
        loss=Loss(kind="simpo"),
        batching=Batching(max_tokens_per_device=40, batch_size=8),
    )
    with pytest.raises(UserError, match=r"max_tokens_per_device=40: .*\d+.*prompt_id 'p\d+'"):
        train.main([str(runs.document(here, settings))])


@pytest.mark.parametrize("bytes_written", [300_000, 1_000_000])
def test_a_full_disk_leaves_no_half_written_checkpoint(bytes_written: int, here: Path, tiny_model: Path):
    """Whichever file it is that does not fit: the weights, or the optimizer's state."""
    settings = dataclasses.replace(runs.training(here, tiny_model), loss=Loss(kind="simpo"))
    document = str(runs.document(here, settings))
    tokenize.main([document])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_written, hard))
    try:
        with pytest.raises(UserError, match="checkpoint-4 could not be written: "):
            train.main([document])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in (here / "output").iterdir() if path.is_dir()] == []


def test_metrics_of_a_step_do_not_depend_on_the_budget(here: Path, tiny_model: Path):
    """The same samples make up a step, in however many micro-batches."""
    settings = dataclasses.replace(runs.training(here, tiny_model), loss=Loss(kind="simpo"))
    trained(here, settings)
    small = runs.losses(here)
    shutil.rmtree(here / "output")
    large = Batching(max_tokens_per_device=4096, batch_size=8)
    trained(here, dataclasses.replace(settings, batching=large, reports=Reports()))
    assert runs.losses(here) == pytest.approx(small, abs=2e-5)


@pytest.mark.parametrize(("rows", "batch_size"), [(17, 3), (2, 3)])
def test_where_samples_do_not_come_out_even_a_process_is_idle_and_every_sample_counts_once(rows: int, batch_size: int):
    settings = Settings(
        kind="preference",
        model=Model(path=""),
        data=Data(sets=()),
        batching=Batching(max_tokens_per_device=400, batch_size=batch_size),
    )
    pairs = [runs.tokens(f"p{number}", 20 + number, 30, 40) for number in range(rows)]
    world = 3
    seen: list[int] = []
    shares = [uneven_epoch(settings, pairs, rank, world) for rank in range(world)]
    for steps in zip(*shares, strict=True):
        assert len({len(step.micro_batches) for step in steps}) == 1
        counted = [int(number) for step in steps for micro in step.own for number in micro.numbers]
        assert len(counted) == steps[0].samples
        seen += counted
    assert sorted(seen) == list(range(rows))


def uneven_epoch(settings: Settings, pairs: list[runs.Tokens], rank: int, world: int) -> list[StepBatch]:
    """One process's steps of an epoch."""
    causal = SimpleNamespace(config=LlamaConfig(hidden_size=64))
    loaded = Loaded(
        packed=SimpleNamespace(causal=causal), kernel="segments", shares_prompts=True, predicts_untrained=False
    )
    processes = Processes(rank=rank, local_rank=rank, world_size=world, device=torch.device("cpu"))
    return list(Epochs(settings, runs.ListOf(pairs), loaded, processes).steps(Position()))


def test_sampo_draws_among_the_trained_tokens_alone():
    mask = np.array([True, False, True, True, False, True])
    pair = dataclasses.replace(runs.tokens("a", 4, 6, 3), masks=(mask, None))
    (chosen, rejected) = Joined((runs.ListOf([pair]),), sampled=5).sample(0).masks
    assert (int(chosen.sum()), int(rejected.sum())) == (3, 3)
    assert not (chosen & ~mask).any()
