"""`smtrain data tokenize` and `smtrain data plan-batches`: what they say is what the training then does."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import native_jobs
import native_trainings as runs
import pytest
import torch
from commands import COMMAND, Answer, Smtrain
from commands import smtrain as in_a_process
from native_sets import changed, pair_set, settings_of, sft_set, write_lines
from smtrain_native.on_this_machine import execute
from smtrain_native.runtime import batching, model, model_shape, plan_batches, sample_work, token_store
from smtrain_native.runtime.epochs import Epochs
from smtrain_native.runtime.processes import Processes
from smtrain_native.runtime.samples import Joined
from smtrain_native.runtime.settings import Batching, Settings
from terminal import on_terminal

from smtrain.cli import main
from smtrain.errors import SmtrainError

ALONE = Processes(rank=0, local_rank=0, world_size=1, device=torch.device("cpu"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with rows of both kinds; tokens are cached below it, and so are temporary folders."""
    write_lines(tmp_path / "pairs.jsonl", runs.rows(120, pairs=True))
    write_lines(tmp_path / "rows.jsonl", runs.rows(120, pairs=False))
    (tmp_path / "temporary").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SMTRAIN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    return tmp_path


@pytest.fixture
def smtrain(here: Path, capfd: pytest.CaptureFixture[str]) -> Smtrain:
    """Calls the command in this process, in `here`; what its own processes print is heard, too."""

    def call(*words: str) -> Answer:
        code = main(words)
        captured = capfd.readouterr()
        return Answer(code=code, out=captured.out, err=captured.err)

    return call


def dpo(tiny: Path, *more: str) -> tuple[str, ...]:
    paths = ("model=custom", f"model.path={tiny}", "data=prompt_preference", "data.path=pairs.jsonl")
    return ("trainer=native_dpo", *paths, "trainer.max_length=400", "trainer.workers=1", *more)


def sft(tiny: Path, *more: str) -> tuple[str, ...]:
    paths = ("model=custom", f"model.path={tiny}", "data=prompt_response", "data.path=rows.jsonl")
    return ("trainer=native_sft", *paths, "trainer.max_length=400", "trainer.workers=1", *more)


def settings(folder: Path, tiny: Path, kind: str, **batching: object) -> Settings:
    make = pair_set if kind == "preference" else sft_set
    rows = write_lines(folder / "own.jsonl", runs.rows(90, pairs=kind == "preference"))
    told = settings_of(tiny, folder / "cache", make(rows, name="own"), kind=kind)
    return dataclasses.replace(told, batching=Batching(**batching))


Ask = Callable[..., tuple[int, list[dict[str, object]]]]


@pytest.fixture
def ask(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Asks the run time, and returns its exit code and answers."""

    def answers(told: Settings, *words: str, lines: str = "") -> tuple[int, list[dict[str, object]]]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
        code = plan_batches.main([str(runs.document(here, told)), "--json", *words])
        return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return answers


def reason(answer: dict[str, object]) -> str:
    (problem,) = answer["error"]["problems"]
    return problem["what"]


def training_plan(told: Settings) -> batching.PlanReport:
    """Returns what the training itself plans."""
    loaded = model.load(told, torch.device("cpu"), trained=True)
    return Epochs(told, Joined(token_store.open_sets(told, "train")), loaded, ALONE).first.report()


def report_of(answer: dict[str, object]) -> batching.PlanReport:
    return batching.PlanReport(**{each.name: answer[each.name] for each in dataclasses.fields(batching.PlanReport)})


# ---------------------------------------------------------------------------------------------------------- the budget


@pytest.mark.parametrize("attention", ["auto", "separate"])
@pytest.mark.parametrize("kind", ["preference", "sft"])
def test_the_training_plans_what_was_answered(kind: str, attention: str, here: Path, tiny_model: Path, ask: Ask):
    told = settings(here, tiny_model, kind)
    told = dataclasses.replace(told, model=dataclasses.replace(told.model, attention=attention), seed=3)
    code, (answer,) = ask(told, "--batch-size=16", "--accumulation=2")
    assert code == 0
    budget = int(answer["max_tokens_per_device"])
    trained = dataclasses.replace(told, batching=Batching(max_tokens_per_device=budget, accumulation=2))
    assert report_of(answer) == training_plan(trained)


def test_a_model_that_cannot_share_prompts_is_seen_without_its_weights(here: Path, tmp_path: Path, tiny_model: Path):
    from transformers import MambaConfig

    told = settings(here, tiny_model, "preference")
    assert model_shape.planned_model(told) == model_shape.PlannedModel(hidden_size=64, shares_prompts=True)
    MambaConfig(hidden_size=32, num_hidden_layers=1, vocab_size=100).save_pretrained(tmp_path / "mamba")
    other = dataclasses.replace(told, model=dataclasses.replace(told.model, path=str(tmp_path / "mamba")))
    assert model_shape.planned_model(other) == model_shape.PlannedModel(hidden_size=32, shares_prompts=False)


def test_the_budget_is_the_least_that_keeps_every_step_at_the_batch_size(here: Path, tiny_model: Path, ask: Ask):
    told = settings(here, tiny_model, "preference")
    _, (answer,) = ask(told, "--batch-size=16", "--gpus=2", "--accumulation=2")
    assert answer["samples_min"] >= 16
    below = str(int(answer["max_tokens_per_device"]) - batching.error.GRANULE)
    code, (less,) = ask(told, f"--budget={below}", "--gpus=2", "--accumulation=2")
    assert code == 2 or int(less["samples_min"]) < 16


def test_a_budget_tells_what_it_gives_as_the_run_has_it(here: Path, tiny_model: Path, ask: Ask):
    told = settings(here, tiny_model, "sft", max_tokens_per_device=512, batch_size=8)
    code, (answer,) = ask(told, "--budget=512")
    assert code == 0
    assert answer["accumulation"] is None
    assert report_of(answer) == training_plan(told)


def test_the_run_s_own_accumulation_counts_where_none_is_said(here: Path, tiny_model: Path, ask: Ask):
    told = settings(here, tiny_model, "sft", accumulation=4)
    assert ask(told, "--batch-size=16")[1][0]["accumulation"] == 4
    assert ask(told, "--batch-size=16", "--accumulation=2")[1][0]["accumulation"] == 2


def test_more_gpus_than_samples_are_said_to_be_idle(here: Path, tiny_model: Path, ask: Ask):
    told = settings(here, tiny_model, "sft", batch_size=8)
    assert "some GPUs are idle" in ask(told, "--budget=8192", "--gpus=64")[1][0]["remark"]
    assert ask(told, "--budget=8192", "--gpus=1")[1][0]["remark"] == ""


def test_lines_are_answered_one_by_one_and_a_bad_one_stops_none(here: Path, tiny_model: Path, ask: Ask):
    lines = "16\n\n16 2\nmany\n16 2 2 2\n16 0\n4000\n16 2 2\n"
    code, answers = ask(settings(here, tiny_model, "sft"), lines=lines)
    assert code == 2
    asked = [(each["gpus"], each["accumulation"]) if "gpus" in each else "error" for each in answers]
    assert asked == [(1, 1), (2, 1), "error", "error", "error", "error", (2, 2)]
    assert "There are 90 samples, fewer than the batch size 4000" in reason(answers[5])
    assert "`many` is no question" in reason(answers[2])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--batch-size=91",), "There are 90 samples, fewer than the batch size 91"),
        (("--batch-size=8", "--gpus=9"), "some would be empty"),
        (("--budget=4",), r"Set it to at least \d+, or bound the samples' lengths. \(prompt_id 'p\d+'\)"),
        (("--budget=64", "--gpus=100", "--accumulation=2"), "would be empty|Set it to at least"),
    ],
)
def test_what_cannot_be_had_is_told_with_the_reason(
    words: tuple[str, ...], said: str, here: Path, tiny_model: Path, ask: Ask
):
    code, (answer,) = ask(settings(here, tiny_model, "sft"), *words)
    assert (code, answer["error"]["exit_code"]) == (2, 2)
    assert re.search(said, reason(answer))


def test_a_longest_sample_of_a_later_set_is_called_by_its_own_name(here: Path, tiny_model: Path, ask: Ask):
    short = write_lines(
        here / "short.jsonl", [{"prompt_id": f"s{n}", "prompt": "a\n", "response": "b"} for n in range(9)]
    )
    long = write_lines(here / "long.jsonl", [{"prompt_id": "the-long", "prompt": "a\n", "response": "b c d " * 40}])
    told = settings_of(tiny_model, here / "cache", sft_set(short, name="short"), sft_set(long, name="long"))
    code, (answer,) = ask(told, "--budget=20")
    assert code == 2
    assert "(prompt_id 'the-long')" in reason(answer)


def test_rows_that_cannot_be_read_are_told_as_json_too(here: Path, tiny_model: Path, ask: Ask):
    told = settings_of(tiny_model, here / "cache", sft_set(here / "gone.jsonl"))
    code, (answer,) = ask(told, "--batch-size=2")
    assert (code, answer["error"]["exit_code"]) == (1, 1)
    assert "there is no file" in reason(answer)


def test_a_budget_below_what_max_length_asks_for_names_the_length_too(here: Path, tiny_model: Path, ask: Ask):
    told = changed(settings(here, tiny_model, "preference"), max_length=400)
    sets = token_store.open_sets(told, "train")
    longest = int((sets[0].lengths[:, 0] + sets[0].lengths[:, 1:].max(axis=1)).max())
    assert "trainer.max_length=150" in ask(told, "--budget=300")[1][0]["overrides"]
    assert not any("max_length" in each for each in ask(told, "--budget=800")[1][0]["overrides"])
    tight = int(sample_work.counted(sets[0], share_prompts=True).max())
    assert tight < 2 * longest
    assert f"the least budget that keeps it is {2 * longest}" in ask(told, f"--budget={tight}")[1][0]["remark"]


# ------------------------------------------------------------------------------------------------------ the commands


@pytest.mark.slow
def test_the_overrides_that_are_told_compile_to_the_plan_that_was_told(smtrain: Smtrain, here: Path, tiny_model: Path):
    run = dpo(
        tiny_model,
        "compute.processes_per_node=2",
        "strategy=ddp",
        "gradient_accumulation_steps=2",
        "global_batch_size=8",
    )
    answer = smtrain("data", "plan-batches", *run, "--batch-size", "10", "--json").document
    assert (answer["gpus"], answer["accumulation"]) == (2, 2)
    assert answer["overrides"][-1] == "global_batch_size=null"  # 10 is no multiple of 4
    told = native_jobs.told(*run, *answer["overrides"])
    assert told.batching.max_tokens_per_device == answer["max_tokens_per_device"]
    again = smtrain(
        "data", "plan-batches", *run, *answer["overrides"], "--json", f"--budget={told.batching.max_tokens_per_device}"
    )
    assert report_of(again.document) == report_of(answer)


def test_the_tokens_are_those_that_the_run_finds(smtrain: Smtrain, here: Path, tiny_model: Path):
    first = smtrain("data", "tokenize", *dpo(tiny_model), "--json").document
    assert [(each["name"], each["rows"], each["cached"]) for each in first] == [("train", 120, False)]
    said = smtrain("data", "tokenize", *dpo(tiny_model, "trainer.max_length=200", "seed=9"))
    assert said.code == 0
    assert "found in the cache" in said.out
    assert list((here / "temporary").iterdir()) == []
    assert not (here / "runs").exists()


@pytest.mark.slow
def test_many_files_a_folder_and_an_evaluation_set_are_laid_out(smtrain: Smtrain, here: Path, tiny_model: Path):
    (here / "many").mkdir()
    for name in ("b", "a"):
        write_lines(here / "many" / f"{name}.jsonl", runs.rows(5, pairs=False))
    words = sft(tiny_model, "data.path=many", "data.eval_path=rows.jsonl")
    document = smtrain("data", "tokenize", *words, "trainer.duplicates=keep", "--json").document
    assert [(each["role"], each["rows"]) for each in document] == [("train", 10), ("eval", 120)]


def test_rows_that_a_policy_refuses_end_with_one_and_say_which(smtrain: Smtrain, here: Path, tiny_model: Path):
    write_lines(here / "rows.jsonl", [{"prompt_id": "twin", "prompt": "a\n", "response": "b"}] * 2)
    answer = smtrain("data", "tokenize", *sft(tiny_model), "trainer.duplicates=error", "--json")
    assert answer.code == 1
    assert "prompt_id seen before: rows.jsonl line 2" in reason(answer.document)
    assert "Traceback" not in answer.err


def test_another_trainer_s_run_has_no_tokens(smtrain: Smtrain):
    answer = smtrain("data", "tokenize", "trainer=lf_sft", "model.path=ORG/NAME")
    assert answer.code == 2
    assert "override `trainer=lf_sft`" in answer.err or "trainer.name: `lf_sft`" in answer.err
    assert "Choose trainer=native_sft or trainer=native_dpo." in answer.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("data.path=target:/data/rows.jsonl",), "`target:/data/rows.jsonl` is not on this machine"),
        (("model.path=target:/models/tiny",), "`target:/models/tiny` is not on this machine"),
    ],
)
def test_what_only_the_target_has_is_told(words: tuple[str, ...], said: str, smtrain: Smtrain, tiny_model: Path):
    answer = smtrain("data", "plan-batches", *sft(tiny_model), *words, "--batch-size=4")
    assert answer.code == 4
    assert said in answer.err
    assert f"override `{words[0]}`" in answer.err
    assert "--input " in answer.err


def test_what_is_here_stands_in_for_what_is_not(smtrain: Smtrain, here: Path, tiny_model: Path):
    (here / "here").mkdir()
    write_lines(here / "here" / "part-1.jsonl", runs.rows(7, pairs=False))
    elsewhere = ("model.path=target:/models/tiny", "data.path=target:/data/rows")
    stand_ins = ("--input", f"model={tiny_model}", "--input=data-1=here")
    (told,) = smtrain("data", "tokenize", *sft(tiny_model), *elsewhere, *stand_ins, "--json").document
    assert (told["rows"], told["kept"]) == (7, 7)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("modle=rows.jsonl", "Did you mean `model`?"),
        ("model=gone", "There is no `gone`"),
        ("model", "names no input"),
        ("=rows.jsonl", "names no input"),
    ],
)
def test_a_stand_in_for_nothing_is_told(word: str, said: str, smtrain: Smtrain, tiny_model: Path):
    answer = smtrain("data", "tokenize", *sft(tiny_model), "--input", word)
    assert answer.code == 2
    assert said in answer.err


def test_an_interpreter_that_lacks_something_is_told(here: Path):
    job = native_jobs.compiled(
        "trainer=native_sft", *native_jobs.HUB, "data=prompt_response", "data.path=rows.jsonl"
    ).job
    with pytest.raises(SmtrainError, match="lacks no_such_package") as told:
        execute(job, "tokenize", folder=here, packages=("no_such_package",))
    assert told.value.exit_code == 4


@pytest.mark.slow
def test_the_backend_s_interpreter_is_taken_unless_it_lacks_something(smtrain: Smtrain, here: Path, tiny_model: Path):
    own = here / "own-python"
    own.write_text(f'#!/bin/sh\necho "$@" >>{here}/calls\nexec {sys.executable} "$@"\n')
    own.chmod(0o755)
    words = sft(tiny_model, "backend.python=./own-python")
    assert smtrain("data", "tokenize", *words).code == 0
    assert "-m smtrain_native.runtime.tokenize" in (here / "calls").read_text()
    own.write_text("#!/bin/sh\nexit 9\n")
    assert smtrain("data", "tokenize", *words).code == 0


@pytest.mark.slow
def test_questions_come_through_a_pipe(here: Path, tiny_model: Path):
    argv = (*COMMAND, "data", "plan-batches", *sft(tiny_model), "--json")
    done = subprocess.run(argv, cwd=here, input="8\n8 2\n", capture_output=True, text=True, check=False)
    assert [json.loads(line)["gpus"] for line in done.stdout.splitlines()] == [1, 2]
    assert done.returncode == 0


@pytest.mark.slow
def test_a_person_asks_until_an_empty_line(here: Path, tiny_model: Path):
    with on_terminal((*COMMAND, "data", "plan-batches", *sft(tiny_model)), cwd=here, env=os.environ) as terminal:
        terminal.read_until("batch size [GPUs [accumulation]]: ")
        terminal.type("9000\n")
        terminal.read_until("fewer than the batch size 9000")
        terminal.type("8 2\n")
        terminal.read_until("budget ", "write ")
        terminal.type("\n")
        assert terminal.wait() == 0


@pytest.mark.slow
def test_a_person_who_interrupts_ends_it_with_130(here: Path, tiny_model: Path):
    with on_terminal((*COMMAND, "data", "plan-batches", *sft(tiny_model)), cwd=here, env=os.environ) as terminal:
        terminal.read_until("batch size [GPUs [accumulation]]: ")
        os.killpg(terminal._process.pid, signal.SIGINT)  # as a terminal does at Ctrl-C
        assert terminal.wait() == 128 + signal.SIGINT
        assert "Traceback" not in terminal.text
    assert list((here / "temporary").iterdir()) == []


def test_the_compiler_imports_nothing_heavy_for_it(here: Path):
    answer = in_a_process("data", "plan-batches", "--help", cwd=here, env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert answer.code == 0
    assert not {"numpy", "torch", "pyarrow"} & {line.rpartition("|")[2].strip() for line in answer.err.splitlines()}
