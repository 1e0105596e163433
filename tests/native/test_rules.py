"""Everything that can be known before launch is said before launch, with the key and what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from native_jobs import DPO, HUB, PAIRS, RESPONSES, SFT, errors, problems, warnings, write_rows
from smtrain_native import rules_loss
from smtrain_native.options import Loss, NativeOptions, Optimizer
from smtrain_native.rules_values import numbers_are_finite, texts_are_text

from smtrain.errors import Problem
from smtrain.spec import Job
from smtrain.testing import compile_overrides

TWO = ("compute=cpu", "compute.processes_per_node=2")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_rows(tmp_path / "responses.jsonl", RESPONSES)
    write_rows(tmp_path / "pairs.jsonl", PAIRS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def base(here: Path) -> Path:
    """A model's folder with a chat template."""
    folder = here / "base"
    folder.mkdir()
    (folder / "config.json").write_text('{"max_position_embeddings": 4096}', encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}', encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"")
    return folder


def configured(base: Path, **config: object) -> tuple[str, ...]:
    (base / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return (*SFT, "model.path=base")


def test_plain_runs_have_nothing_to_be_said_of() -> None:
    assert problems(*SFT) == ()
    assert problems(*DPO) == ()


ERRORS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "micro batch size": (
        (*SFT, "micro_batch_size=4"), "micro_batch_size", "set trainer.max_tokens_per_device (now 8192)",
    ),
    "a sequence longer than the budget": (
        (*SFT, "trainer.max_length=8193"), "trainer.max_tokens_per_device",
        "trainer.max_tokens_per_device=8193 or more",
    ),
    "a pair longer than the budget": (
        (*DPO, "trainer.max_length=4097"), "trainer.max_tokens_per_device",
        "up to 8194: prompt + 1 + chosen + rejected, for a one-token prompt 1 + 1 + 4096 + 4096. Say trainer.",
    ),
    "processes that do not divide": (
        (*SFT, "compute=cpu", "compute.processes_per_node=3", "strategy=ddp"), "global_batch_size",
        "global_batch_size 32 is not a multiple of 3 processes. Say global_batch_size=30 or global_batch_size=33.",
    ),
    "fewer samples than processes": (
        (*SFT, *TWO, "strategy=ddp", "global_batch_size=1"), "global_batch_size", "Say global_batch_size=2.",
    ),
    "accumulation beyond the batch": (
        (*SFT, "global_batch_size=8", "gradient_accumulation_steps=16"), "global_batch_size",
        "Say global_batch_size=16.\nOr keep global_batch_size=8 with gradient_accumulation_steps=8.",
    ),
    "fsdp": (
        (*SFT, "compute=gpu", "compute.gpus_per_node=2", "strategy=fsdp"), "strategy.kind", "strategy=zero3",
    ),
    "fp16": ((*SFT, "trainer.precision=fp16"), "trainer.precision", "bf16"),
    "no such loss": ((*DPO, "trainer.loss.kind=kto"), "trainer.loss.kind", "simpo"),
    "beta of nothing": ((*DPO, "trainer.loss.beta=0"), "trainer.loss.beta", "0"),
    "half of the labels wrong": ((*DPO, "trainer.loss.label_smoothing=0.5"), "trainer.loss.label_smoothing", "0.5"),
    "loss of supervised fine-tuning": ((*SFT, "trainer.loss.kind=dpo"), "trainer.loss", "trainer=native_dpo"),
    "tuning of LLaMA-Factory": ((*SFT, "tuning=lora"), "tuning", "None of the chosen options has a group `tuning`"),
    "a reference that nothing reads": (
        (*DPO, "trainer.loss.kind=orpo", "trainer.reference=r.arrow"), "trainer.reference",
        "loss orpo has no reference",
    ),
    "a reference that is no file": (
        (*DPO, "trainer.reference=hub:ORG/ROWS"), "trainer.reference", "Name a file of this machine",
    ),
    "a reference nowhere on the target": (
        (*DPO, "trainer.reference=target:r.arrow"), "trainer.reference", "no absolute path on the target",
    ),
    "rows of preferences": (
        ("trainer=native_sft", *HUB, "data=prompt_preference", "data.path=pairs.jsonl"), "data.ranking", "ranking",
    ),
    "rows without preferences": (
        ("trainer=native_dpo", *HUB, "data=prompt_response", "data.path=responses.jsonl"), "data.ranking", "ranking",
    ),
    "a weight of no set": (
        (*SFT, "trainer.weights={trian: 2}"), "trainer.weights.trian", "Did you mean `train`?",
    ),
    "a weight of an evaluation set": (
        (*SFT, "data.eval_path=responses.jsonl", "trainer.weights={eval: 2}"), "trainer.weights.eval", "evaluated on",
    ),
    "a weight of nothing": ((*SFT, "trainer.weights={train: 0}"), "trainer.weights.train", "0"),
    "evaluation of no set": (
        (*SFT, "data.eval_path=responses.jsonl", "trainer.evaluation.sets=[evil]"), "trainer.evaluation.sets",
        "Did you mean `eval`?",
    ),
    "evaluation without data": (
        (*SFT, "trainer.evaluation.every=10"), "trainer.evaluation.every", "Set data.eval_path=FILE",
    ),
    "a cache that no other run finds": ((*SFT, "trainer.cache_dir=tokens"), "trainer.cache_dir", "/absolute/path"),
    "adapters": ((*SFT, "model.adapter='a/b,c/d'"), "model.adapter", "goes on from one"),
    "the head": ((*SFT, "trainer.tuning.targets=[q_proj,lm_head]"), "trainer.tuning.targets", "head over"),
    "flash attention on CPUs": (
        (*SFT, "compute=cpu", "trainer.attention=flash"), "trainer.attention", "does not compute on CPUs",
    ),
    "flash attention in fp32": (
        (*SFT, "trainer.precision=fp32", "trainer.attention=flash"), "trainer.attention", "does not compute in fp32",
    ),
    "half a step of warm-up": (
        (*SFT, "trainer.optimizer.warmup=1.5"), "trainer.optimizer.warmup", "neither a share below 1 nor a whole",
    ),
    "a subset of a file": ((*SFT, "data.subset=small"), "data.subset", "only data sets of a hub"),
    "a folder of the hub": ((*SFT, "data.path=hub:ORG/ROWS", "data.folder=x"), "data.folder", "cannot choose"),
    "images": (
        ("trainer=native_sft", *HUB, "data=prompt_response", "data.path=hub:ORG/ROWS", "data.columns.images=images"),
        "data.columns.images", "text alone",
    ),
    "an archive in S3": ((*SFT, "data.path=s3://bucket/rows.tar"), "data", "no file of rows"),
    "a data set that LLaMA-Factory looks up": (
        ("trainer=native_sft", *HUB, "data=dataset_info", "data.dataset_info=ONLINE", "data.names=[x]"),
        "data.dataset_info", "LLaMA-Factory alone",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_what_cannot_work_is_refused(name: str) -> None:
    overrides, key, says = ERRORS[name]
    found = errors(*overrides)
    assert key in found, found
    assert says in found[key]


WARNINGS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "smoothing that is ignored": (
        (*DPO, "trainer.loss.label_smoothing=0.1"), "trainer.loss.label_smoothing", "loss dpo has no label smoothing",
    ),
    "cdpo without smoothing": ((*DPO, "trainer.loss.kind=cdpo"), "trainer.loss.label_smoothing", "is dpo"),
    "a margin that is ignored": ((*DPO, "trainer.loss.gamma=1.5"), "trainer.loss.gamma", "loss dpo has no margin"),
    "a small beta for simpo": ((*DPO, "trainer.loss.kind=simpo"), "trainer.loss.beta", "trainer.loss.beta=2.0"),
    "lora of a whole model": (
        (*SFT, "trainer.tuning.kind=full", "trainer.tuning.targets=[q_proj]"), "trainer.tuning.targets", "of LoRA",
    ),
    "merging nothing": (
        (*SFT, "trainer.tuning.kind=full", "trainer.export.enabled=true"), "trainer.export.enabled", "is whole",
    ),
    "another rank than the adapter's": (
        (*SFT, "model.adapter=ORG/ADAPTER", "trainer.tuning.rank=64"), "trainer.tuning.rank", "keeps its own",
    ),
    "checkpoints that never come": (
        (*SFT, "trainer.max_steps=100"), "trainer.checkpoints.every", "Every 500 steps, in a training of 100",
    ),
    "evaluations that never come": (
        (*SFT, "data.eval_path=responses.jsonl", "trainer.max_steps=10", "trainer.evaluation.every=20"),
        "trainer.evaluation.every", "at the end alone",
    ),
    "a warm-up without end": (
        (*SFT, "trainer.max_steps=10", "trainer.optimizer.warmup=10"), "trainer.optimizer.warmup", "never falls",
    ),
    "fewer rows than a step": (
        (*SFT, "global_batch_size=128"), "global_batch_size", "Say global_batch_size=64.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WARNINGS)
def test_what_surprises_is_told_and_compiles(name: str) -> None:
    overrides, key, says = WARNINGS[name]
    assert errors(*overrides) == {}
    found = warnings(*overrides)
    assert key in found, found
    assert says in found[key]


def test_all_of_it_is_said_at_once() -> None:
    found = errors(
        *DPO, "micro_batch_size=4", "trainer.max_length=5000", "trainer.cache_dir=x", "trainer.weights={b: 2}"
    )
    assert set(found) == {
        "micro_batch_size", "trainer.max_tokens_per_device", "trainer.cache_dir", "trainer.weights.b",
    }  # fmt: skip


@pytest.mark.parametrize("length", [4096, 1])
def test_a_pair_of_twice_the_longest_sequence_fits(length: int) -> None:
    assert errors(*DPO, f"trainer.max_length={length}", f"trainer.max_tokens_per_device={2 * length}") == {}


# --------------------------------------------------------------------------------------------------- a model's folder


def test_a_model_with_a_template_has_nothing_to_be_said_of(base: Path) -> None:
    assert problems(*SFT, "model.path=base") == ()


@pytest.mark.parametrize("content", ["{}", '{"chat_template": null}', '{"chat_template": ""}'])
def test_a_tokenizer_without_a_template_is_for_completions_only(base: Path, content: str) -> None:
    (base / "tokenizer_config.json").write_text(content, encoding="utf-8")
    found = errors(*SFT, "model.path=base")
    assert "has no chat template" in found["trainer.prompt_type"]
    assert errors(*SFT, "model.path=base", "trainer.prompt_type=completion") == {}


@pytest.mark.parametrize("name", ["chat_template.jinja", "chat_template.json"])
def test_a_template_may_stand_in_a_file_of_its_own(base: Path, name: str) -> None:
    (base / "tokenizer_config.json").write_text("{}", encoding="utf-8")
    (base / name).write_text("{{ messages }}", encoding="utf-8")
    assert errors(*SFT, "model.path=base") == {}


@pytest.mark.parametrize("content", [None, '"chat_template"', "{", '["chat_template"]'])
def test_of_a_tokenizer_that_cannot_be_looked_at_nothing_is_said(base: Path, content: str | None) -> None:
    (base / "tokenizer_config.json").unlink()
    if content is not None:
        (base / "tokenizer_config.json").write_text(content, encoding="utf-8")
    assert "trainer.prompt_type" not in errors(*SFT, "model.path=base") or content == "{"


def test_a_quantised_model_and_one_with_an_encoder_are_refused(base: Path) -> None:
    assert "quantised" in errors(*configured(base, quantization_config={"bits": 4}))["model.path"]
    assert "causal language models" in errors(*configured(base, is_encoder_decoder=True))["model.path"]


def test_more_tokens_than_positions_are_doubtful(base: Path) -> None:
    found = warnings(*configured(base, max_position_embeddings=1024))
    assert "`base` has 1024 positions. Say trainer.max_length=1024" in found["trainer.max_length"]
    assert warnings(*configured(base, max_position_embeddings=2048)) == {}


# -------------------------------------------------------------------------------------------------- DeepSpeed documents


def of_document(here: Path, **document: object) -> tuple[Problem, ...]:
    zero = {"zero_optimization": {"stage": 2}}
    (here / "ds.json").write_text(json.dumps({**zero, **document}), encoding="utf-8")
    return problems(*SFT, *TWO, "strategy=zero2", "strategy.document=ds.json")


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"fp16": {"enabled": True}}, "not in fp16"),
        ({"bf16": {"enabled": False}}, "bf16.enabled is false, but trainer.precision is bf16"),
        ({"bf16": {"enabled": "auto"}}, 'bf16.enabled is "auto"'),
        (
            {"zero_optimization": {"stage": 2, "reduce_bucket_size": "auto"}},
            'reduce_bucket_size is "auto"',
        ),
    ],
)
def test_a_document_of_the_users_must_agree_with_the_trainer(
    here: Path, document: dict[str, object], says: str
) -> None:
    (found,) = [each for each in of_document(here, **document) if each.is_error]
    assert found.key == "strategy.document"
    assert says in found.what


def test_an_optimizer_in_a_document_is_not_used(here: Path) -> None:
    (found,) = of_document(here, optimizer={"type": "AdamW", "params": {"lr": 1e-5}})
    assert not found.is_error
    assert "makes its own" in found.what


def test_sizes_and_clipping_may_be_auto_in_a_document(here: Path) -> None:
    sizes = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping")
    assert of_document(here, **dict.fromkeys(sizes, "auto")) == ()


def test_what_is_laid_over_a_document_of_ours_must_agree_as_well() -> None:
    found = errors(*SFT, *TWO, "strategy=zero2", "strategy.overrides.bf16.enabled=false")
    assert "trainer.precision is bf16" in found["strategy.overrides"]


def test_a_document_must_not_lie_where_the_program_does(here: Path) -> None:
    (here / "native.json").write_text('{"zero_optimization": {"stage": 2}}', encoding="utf-8")
    found = errors(*SFT, *TWO, "strategy=zero2", "strategy.document=native.json")
    assert "the trainer's own" in found["strategy.document"]


# --------------------------------------------------------------------------------------------------- dataset_info.json


def test_entries_of_a_dataset_info_are_read_where_the_run_time_can(here: Path) -> None:
    columns = {"prompt": "prompt", "response": "response"}
    entries = {
        "seas": {"file_name": "responses.jsonl", "columns": columns},
        "scripted": {"script_url": "x.py"},
        "scope": {"ms_hub_url": "ORG/ROWS"},
        "hub": {"hf_hub_url": "ORG/ROWS"},
    }
    (here / "dataset_info.json").write_text(json.dumps(entries), encoding="utf-8")
    run = ("trainer=native_sft", *HUB, "data=dataset_info", "data.dataset_info=dataset_info.json")
    assert errors(*run, "data.names=[seas,hub]") == {}
    assert "comes from a script" in errors(*run, "data.names=[scripted]")["data.names"]
    assert "hub other than Hugging Face's" in errors(*run, "data.names=[scope]")["data.names"]


def test_text_files_are_for_pre_training(here: Path) -> None:
    (here / "rows.txt").write_text("The Baltic is a sea.\n", encoding="utf-8")
    found = errors(*SFT, "data.path=rows.txt", "data.check=none")
    assert "no file of rows that this trainer reads" in found["data"]


# -------------------------------------------------------------------------------------------------------------- values


def job() -> Job:
    return compile_overrides(SFT).job


@pytest.mark.parametrize("rate", [float("inf"), float("nan")])
def test_numbers_that_are_none_are_refused(rate: float) -> None:
    (found,) = numbers_are_finite(job(), NativeOptions(optimizer=Optimizer(learning_rate=rate)))
    assert found.key == "trainer.optimizer.learning_rate"


@pytest.mark.parametrize("text", ["a\0b", "\udcff"])
def test_text_that_no_file_can_hold_is_refused(text: str) -> None:
    (found,) = texts_are_text(job(), NativeOptions(cache_dir=text))
    assert found.key == "trainer.cache_dir"


def test_losses_without_a_reference_are_those_of_the_run_time() -> None:
    torch = pytest.importorskip("torch")
    del torch
    from smtrain_native.runtime import losses

    kinds = Loss.__annotations__["kind"]
    assert "dpo" in str(kinds)
    for kind in ("dpo", "ipo", "hinge", "cdpo", "ln_dpo", "simpo", "sampo", "orpo"):
        assert rules_loss.needs_reference(kind) == losses.needs_reference(kind)  # type: ignore[arg-type]
