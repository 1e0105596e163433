"""What is refused, and what the refusal says."""

from __future__ import annotations

import json

import pytest
from strategy_jobs import make_job

from smtrain.json_positions import keys
from smtrain.spec import Job
from smtrain.strategy_check import check


def found(job: Job) -> list[str]:
    return [f"{problem.severity.value}: {problem}" for problem in check(job)]


def own(document: object, kind: str = "zero2", **more: object) -> Job:
    text = document if isinstance(document, str) else json.dumps(document, indent=1)
    return make_job(kind, document="my.json", content=text.encode(), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["ddp", "zero1", "zero2", "zero2_offload", "zero3", "zero3_offload"])
@pytest.mark.parametrize("launcher", ["torchrun", "accelerate", "deepspeed"])
@pytest.mark.parametrize("per_node", [1, 2])
def test_data_parallel_strategies_go_with_every_launcher(kind: str, launcher: str, per_node: int) -> None:
    assert found(make_job(kind, launcher, per_node=per_node)) == []


def test_single_is_one_process() -> None:
    assert found(make_job("single", per_node=1)) == []
    (text,) = found(make_job("single", per_node=2))
    assert text.splitlines() == [
        "error: compute.processes_per_node: strategy=single is one process, but 1 × 2 = 2.",
        "  Choose strategy=ddp or another, or run one process on one node.",
    ]


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (make_job("fsdp", accelerator="cpu"), "strategy.kind: accelerate 1.11.0 ignores FSDP on CPUs"),
        (make_job("fsdp", "deepspeed", accelerator="gpu"), "launcher.kind: DeepSpeed's launcher does not set FSDP up"),
        (make_job("ddp", "accelerate", max_restarts=1), "launcher.max_restarts: the accelerate launcher restarts"),
        (make_job("ddp", nodes=2, max_restarts=1), "launcher.max_restarts: torchrun restarts the workers of one node"),
        (
            make_job("ddp", overrides={"a": 1}),
            "strategy.overrides: strategy=ddp with launcher=torchrun has no document",
        ),
        (make_job("zero2", overrides={"zero_optimisation": {"stage": 3}}), "Did you mean `zero_optimization`?"),
        (make_job("zero2", overrides={"zero_optimization.stage": 3}), "stage 3 is strategy=zero3, but the run says"),
        (make_job("zero2", overrides={"train_batch_size": 7}), "7 ≠ 1 × 1 × 2 processes = 2."),
        (make_job("fsdp", accelerator="gpu", overrides={"fsdp_config.fsdp_ofload": True}), "fsdp_config.fsdp_ofload"),
        (
            make_job("fsdp", accelerator="gpu", overrides={"mixed_precision": "no"}),
            "launcher=torchrun reads no such key",
        ),
        (make_job("ddp", "accelerate", overrides={"mixed_precison": "no"}), "Did you mean `mixed_precision`?"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(job: Job, words: str) -> None:
    assert any(words in text and text.startswith("error") for text in found(job)), found(job)


def test_one_nodes_restarts_are_fine() -> None:
    assert found(make_job("ddp", max_restarts=3)) == []


@pytest.mark.parametrize(
    ("document", "kind", "problem"),
    [
        ({"zero_optimisation": {"stage": 2}}, "zero2", "my.json:2: strategy.document: zero_optimisation: DeepSpeed"),
        (
            {"zero_optimization": {"stage": "auto"}},
            "zero2",
            'my.json:3: strategy.document: zero_optimization.stage: "auto"',
        ),
        ({"zero_optimization": {"stage": 2.0}}, "zero2", "2.0 is not a stage"),
        ({"zero_optimization": {"stage": True}}, "zero2", "true is not a stage"),
        ({"zero_optimization": {"stage": 4}}, "zero2", "4 is not a stage"),
        ({"zero_optimization": True}, "zero2", "zero_optimization: True is not an object"),
        ({"zero_optimization": {"stage": 3}}, "zero2", "stage 3 is strategy=zero3, but the run says strategy=zero2."),
        (
            {"zero_optimization": {"stage": 2}},
            "zero2_offload",
            "is strategy=zero2, but the run says strategy=zero2_offload",
        ),
        ({}, "zero2", "stage 0 is strategy=ddp"),
        (
            {"zero_optimization": {"stage": 2, "offload_param": {"device": "cpu"}}},
            "zero2",
            "my.json:4: strategy.document: zero_optimization.offload_param: parameters are not sharded at stage 2",
        ),
        ({"zero_optimization": {"stage": 2, "overlap_com": True}}, "zero2", "Did you mean `overlap_comm`?"),
        ({"zero_optimization": {"stage": 2, "mics_shard_size": 2}}, "zero2", "has this no longer"),
        ({"zero_optimization": {"stage": 2}, "amp": {}}, "zero2", "amp: DeepSpeed 0.19.8 has this no longer"),
        ({"zero_optimization": {"stage": 2}, "bf16": {"enable": True}}, "zero2", "Did you mean `enabled`?"),
        ({"zero_optimization": {"stage": 2}, "optimizer": {"type": "AdamX"}}, "zero2", '"AdamX" is no optimizer'),
        ({"zero_optimization": {"stage": 2}, "train_batch_size": 9}, "zero2", "9 ≠ 1 × 1 × 2 processes = 2."),
        ({"zero_optimization": {"stage": 2}, "train_micro_batch_size_per_gpu": 2}, "zero2", "2 ≠ the run's micro"),
        ({"zero_optimization": {"stage": 2}, "gradient_accumulation_steps": "1"}, "zero2", '"1" ≠ the run\'s gradient'),
        (
            {"zero_optimization": {"stage": 2}, "fp16": {"enabled": True}, "bf16": {"enabled": True}},
            "zero2",
            "fp16 and bf16 are both on",
        ),
        ({"zero_optimization": {"stage": 2}, "fp16": {"enabled": True}}, "zero2", "does not train in fp16 on CPUs"),
        ('{"a": 1,\n "a": 2}', "zero2", "my.json:2: strategy.document: a stands here again, column 2"),
        ('{"a": 1,\n\n b}', "zero2", "my.json:3: strategy.document: This is not JSON"),
        ("[]", "zero2", "A DeepSpeed document is a JSON object"),
        ("\ufeff{}", "zero2", "This is not JSON"),
        ({}, "single", "strategy=single takes no document"),
        ({}, "fsdp", "strategy=fsdp takes an accelerate YAML"),
    ],
)
def test_a_users_deepspeed_document_is_checked(document: object, kind: str, problem: str) -> None:
    texts = [text for text in found(own(document, kind)) if problem in text]
    assert texts and texts[0].startswith("error"), found(own(document, kind))


@pytest.mark.parametrize(
    ("document", "kind", "problem"),
    [
        (
            {"zero_optimization": {"stage": 2}, "comms_config": {}},
            "zero2",
            "comms_config: DeepSpeed 0.19.8 knows no such",
        ),
        ({"zero_optimization": {"stage": 3}}, "zero3", "stage3_gather_16bit_weights_on_model_save is not true"),
    ],
)
def test_a_doubt_is_a_warning(document: object, kind: str, problem: str) -> None:
    (text,) = found(own(document, kind))
    assert text.startswith("warning")
    assert problem in text


def test_a_sound_document_passes_with_comments_autos_and_floats() -> None:
    document = {
        "_comment": "ours",
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": 1,
        "optimizer": {"type": "AdamW", "params": {"lr": "auto"}},
        "zero_optimization": {"stage": 2, "reduce_bucket_size": 5e8},
    }
    assert found(own(document)) == []


def test_one_misspelt_name_is_one_problem() -> None:
    (text,) = found(own({"zero_optimisation": {"stage": 2}}))
    assert "Did you mean `zero_optimization`?" in text


def test_bytes_that_are_no_text_are_refused() -> None:
    (problem,) = check(make_job("zero2", document="my.json", content=b'{"\xff": 1}'))
    assert "not UTF-8" in problem.what


def test_a_document_and_overrides_exclude_each_other() -> None:
    texts = found(own({"zero_optimization": {"stage": 2}}, overrides={"a": 1}))
    assert any("strategy.overrides: a document of your own is used as it is" in text for text in texts)


YAML = "distributed_type: {}\nnum_processes: 2\n"


@pytest.mark.parametrize(
    ("text", "kind", "problem"),
    [
        (YAML.format("FSDP"), "ddp", "my.yaml:1: strategy.document: distributed_type: 'FSDP' is not strategy=ddp."),
        (YAML.format("MULTI_CPU"), "ddp", "accelerate 1.11.0 starts one process for MULTI_CPU, not 2."),
        (
            YAML.format("MULTI_GPU") + "num_proceses: 2\n",
            "ddp",
            "my.yaml:3: strategy.document: num_proceses: unknown key",
        ),
        (YAML.format("MULTI_GPU") + "debug: [", "ddp", "This is not YAML"),
        (YAML.format("MULTI_GPU") * 2, "ddp", "distributed_type stands twice"),
        ("- 1", "ddp", "An accelerate document is a mapping"),
        (YAML.format("DEEPSPEED"), "zero2", "strategy=zero2 takes a DeepSpeed JSON"),
    ],
)
def test_a_users_accelerate_document_is_checked(text: str, kind: str, problem: str) -> None:
    texts = found(make_job(kind, "accelerate", document="my.yaml", content=text.encode()))
    assert any(problem in text and text.startswith("error") for text in texts), texts


def test_a_sound_accelerate_document_passes() -> None:
    text = YAML.format("FSDP") + "fsdp_config: {fsdp_version: 2, fsdp_state_dict_type: FULL_STATE_DICT}\n"
    job = make_job("fsdp", "accelerate", accelerator="gpu", document="my.yaml", content=text.encode())
    assert found(job) == []


def test_sharded_state_of_fsdp_is_a_warning() -> None:
    text = YAML.format("FSDP") + "fsdp_config: {fsdp_version: 2}\n"
    (problem,) = found(make_job("fsdp", "accelerate", accelerator="gpu", document="my.yaml", content=text.encode()))
    assert problem.startswith("warning")
    assert "no model at the end" in problem


def test_an_accelerate_document_needs_accelerates_launcher() -> None:
    (text,) = found(make_job("ddp", "torchrun", document="my.yaml", content=YAML.format("MULTI_GPU").encode()))
    assert "which the torchrun launcher does not read" in text


def test_keys_are_found_where_they_stand() -> None:
    text = '{"a": {"b\\"": [{"c": "}"}, {"c": 1}]},\n  "d": "x:y", "a": 3}'
    assert [(key.path, key.line, key.column, key.repeated) for key in keys(text)] == [
        ("a", 1, 2, False),
        ('a.b"', 1, 8, False),
        ('a.b".c', 1, 17, False),
        ('a.b".c', 1, 29, False),
        ("d", 2, 3, False),
        ("a", 2, 15, True),
    ]
