"""The rules across LLaMA-Factory's arguments, and whether its own parser agrees."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llamafactory_examples import Example, examples
from llamafactory_rule_cases import CASES, HELD_OUT, ROWS, Args, Case
from omegaconf import OmegaConf
from smtrain_llamafactory import arguments, rules
from smtrain_llamafactory.facts import Facts

from smtrain.plugin import Dataset, Problem

TRAINED: Args = {
    "model_name_or_path": "m",
    "output_dir": "out",
    "do_train": True,
    "dataset": "rows",
    "template": "llama3",
    "stage": "sft",
    "report_to": "none",
}
INFERRED: Args = {"model_name_or_path": "m", "template": "llama3"}


def _effective(case: Case, own: Args) -> Args:
    return {**(TRAINED if case.training else INFERRED), **own}


def _facts(case: Case, *, good: bool) -> Facts:
    args = _effective(case, case.good if good else case.bad)
    return Facts(
        stage=str(args.get("stage", "sft")),
        args=args,
        world_size=(case.good_world_size if good else 0) or case.world_size,
        zero_stage=case.good_zero_stage if good and case.good_zero_stage != -1 else case.zero_stage,
        fsdp=case.fsdp,
        accelerator=(case.good_accelerator if good else "") or case.accelerator,
        datasets=case.good_datasets if good and case.good_datasets is not None else case.datasets,
        training=case.training,
    )


def _matching(case: Case, problems: list[Problem]) -> list[Problem]:
    key = case.key if case.key.startswith("data.") else f"trainer.args.{case.key}"
    return [problem for problem in problems if problem.key == key and case.says in str(problem)]


IDS = [f"{case.rule}-{index}-{case.key}" for index, case in enumerate(CASES)]


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_rule_finds_the_bad_example_and_passes_the_good_one(case):
    (problem,) = _matching(case, list(rules.check(_facts(case, good=False))))
    assert problem.is_error is not case.warns
    assert problem.fix or case.warns
    assert _matching(case, list(rules.check(_facts(case, good=True)))) == []


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_good_example_has_no_error_at_all(case):
    assert [str(problem) for problem in rules.check(_facts(case, good=True)) if problem.is_error] == []


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_examples_use_arguments_that_exist(case):
    assert arguments.check(case.bad, "0.9.5") == ()
    assert arguments.check(case.good, "0.9.5") == ()


def test_every_rule_has_an_example():
    named = {rule.__name__ for rule in (*rules.ALWAYS, *rules.TRAINING, *rules.INFERENCE)}
    assert named - {"one_stage"} == {case.rule for case in CASES}


def test_another_stage_than_the_trainers_is_an_error():
    facts = Facts(
        stage="sft", args={"stage": "dpo"}, world_size=1, zero_stage=None, fsdp=False, accelerator="cpu", datasets=()
    )
    (problem,) = [problem for problem in rules.check(facts) if problem.key == "trainer.args.stage"]
    assert "trainer=lf_dpo" in problem.fix


# --------------------------------------------------------------------------------------- agreement with the real parser


def _real(case: Case, *, good: bool) -> Mapping[str, object]:
    """Returns the arguments as LLaMA-Factory would get them: the strategy is an argument too."""
    facts = _facts(case, good=good)
    zero = {"zero_optimization": {"stage": facts.zero_stage}, "train_micro_batch_size_per_gpu": "auto"}
    strategy: Args = {} if facts.zero_stage is None else {"deepspeed": zero}
    return {"args": {**facts.args, **strategy}, "training": case.training}


def _is_distributed(case: Case) -> bool:
    return case.zero_stage is not None or case.world_size > 1


@pytest.fixture(scope="session")
def real_verdicts(with_llamafactory):
    """The real parser's messages, by the case's index: for its bad and its good example."""
    verdicts: dict[int, tuple[str | None, str | None]] = {}
    for distributed in (False, True):
        judged = [n for n, case in enumerate(CASES) if case.judge and _is_distributed(case) is distributed]
        questions = [_real(CASES[n], good=good) for n in judged for good in (False, True)]
        script = Path(__file__).with_name("real_parser.py")
        done = with_llamafactory(script, stdin=json.dumps(questions), distributed=distributed)
        assert done.returncode == 0, done.stderr[-3000:]
        answers = json.loads(done.stdout)
        verdicts |= {n: (answers[2 * i], answers[2 * i + 1]) for i, n in enumerate(judged)}
    return verdicts


@pytest.mark.slow
@pytest.mark.parametrize("index", [n for n, case in enumerate(CASES) if case.judge], ids=lambda n: IDS[n])
def test_llamafactorys_own_parser_gives_the_same_verdict(index, real_verdicts):
    bad, good = real_verdicts[index]
    assert good is None
    assert (bad is None) is CASES[index].warns, bad


# --------------------------------------------------------------------------------------------- LLaMA-Factory's examples


def test_examples_of_llamafactory_break_no_rule(llamafactory_sdist):
    seen = examples(llamafactory_sdist)
    assert len(seen) > 40
    for example in seen:
        errors = [str(problem) for problem in rules.check(_of_example(example)) if problem.is_error]
        assert errors == [], example.name


def _of_example(example: Example) -> Facts:
    sharded = example.zero_stage is not None or "fsdp" in example.args
    return Facts(
        stage=str(example.args.get("stage", "sft")),
        args=example.args,
        world_size=8 if sharded else 1,
        zero_stage=example.zero_stage,
        fsdp=False,
        accelerator="auto",
        datasets=example.datasets,
        training=example.training,
    )


# ----------------------------------------------------------------------------------------------------------------- more


def test_one_process_started_by_torchrun_counts_as_distributed():
    args: Args = {**TRAINED, "finetuning_type": "full", "use_badam": True, "badam_mode": "ratio"}
    alone = Facts(
        stage="sft", args=args, world_size=1, zero_stage=None, fsdp=False, accelerator="auto", datasets=(ROWS,)
    )
    launched = Facts(
        stage="sft",
        args=args,
        world_size=1,
        zero_stage=None,
        fsdp=False,
        accelerator="auto",
        datasets=(ROWS,),
        launched=True,
    )
    assert [p for p in rules.check(alone) if p.is_error] == []
    assert [p.key for p in rules.check(launched) if p.is_error] == ["trainer.args.badam_mode"]


def test_secret_is_told_in_no_message():
    secret = "hf_S3CRET"
    args: Args = dict.fromkeys(arguments.SECRETS, secret)
    facts = Facts(
        stage="sft", args=args, world_size=1, zero_stage=None, fsdp=False, accelerator="auto", datasets=(HELD_OUT,)
    )
    problems = list(rules.check(facts))
    assert {p.key.removeprefix("trainer.args.") for p in problems} >= arguments.SECRETS
    assert not any(secret in str(problem) for problem in problems)


def test_ppo_refusal_names_both_requirements_and_a_way_out():
    problem = rules.ppo_refusal("0.9.5")
    assert problem.is_error
    assert "trl>=0.8.6,<=0.9.6" in str(problem)
    assert "trl>=0.18.0,<=0.24.0" in str(problem)
    assert "lf_dpo" in problem.fix


@pytest.mark.slow
def test_ppo_refusal_still_holds_for_the_installed_llamafactory(with_llamafactory, tmp_path):
    script = tmp_path / "requirements.py"
    script.write_text(
        "import inspect, llamafactory.train.ppo.trainer as ppo, llamafactory.train.kto.trainer as kto\n"
        "from llamafactory.extras import misc\n"
        "assert 'trl>=0.8.6,<=0.9.6' in inspect.getsource(ppo.CustomPPOTrainer.__init__)\n"
        "assert 'trl>=0.18.0,<=0.24.0' in inspect.getsource(misc.check_dependencies)\n"
        "assert 'import prepare_deepspeed, prepare_fsdp' in inspect.getsource(kto)\n"
    )
    done = with_llamafactory(script)
    assert done.returncode == 0, done.stderr[-2000:]


ANY = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.lists(st.text() | st.integers(), max_size=3)
)


@given(
    st.dictionaries(st.sampled_from(sorted(arguments.properties("0.9.5"))), ANY | st.just({"a": 1}), max_size=12),
    st.sampled_from(["pt", "sft", "rm", "ppo", "dpo", "kto"]),
    st.booleans(),
)
def test_no_value_makes_a_rule_stumble(args, stage, training):
    facts = Facts(
        stage=stage,
        args=args,
        world_size=2,
        zero_stage=3,
        fsdp=False,
        accelerator="cpu",
        datasets=(ROWS, HELD_OUT),
        training=training,
    )
    assert all(problem.what.endswith((".", ").")) for problem in rules.check(facts))


def test_dataset_of_unknown_length_is_not_judged_by_it():
    unknown = Dataset(name="u", role="train", key="data.path", source="file", location="u.jsonl")
    facts = Facts(
        stage="sft",
        args=OmegaConf.to_container(OmegaConf.create({**TRAINED, "val_size": 1000})),
        world_size=1,
        zero_stage=None,
        fsdp=False,
        accelerator="auto",
        datasets=(ROWS, unknown),
    )
    assert [problem for problem in rules.check(facts) if problem.is_error] == []
