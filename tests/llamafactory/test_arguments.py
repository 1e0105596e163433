"""The committed schema of LLaMA-Factory's arguments, and what is said about a bad one."""

from __future__ import annotations

import difflib
import subprocess
import sys
from functools import cache
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from smtrain_llamafactory import arguments, conformance
from smtrain_llamafactory.renamed import MEANT, REMOVED, RENAMED

from smtrain.plugin import Json, SmtrainError

V = "0.9.5"
PLUGIN = Path(arguments.__file__).parent
PROPERTIES = arguments.properties(V)


@pytest.mark.slow
@pytest.mark.parametrize("version", arguments.KNOWN_VERSIONS)
def test_committed_schema_is_what_the_installed_llamafactory_gives(version, with_llamafactory):
    committed = PLUGIN / f"arguments_{version.replace('.', '_')}.json"
    done = with_llamafactory(PLUGIN / "generate_arguments.py")
    assert done.returncode == 0, done.stderr[-2000:]
    old = committed.read_text(encoding="utf-8")
    changes = difflib.unified_diff(
        old.splitlines(), done.stdout.splitlines(), "committed", "generated", n=0, lineterm=""
    )
    regenerate = (
        f"python plugins/smtrain_llamafactory/generate_arguments.py > plugins/smtrain_llamafactory/{committed.name}"
    )
    assert old == done.stdout, "\n".join((f"regenerate it: {regenerate}", *list(changes)[:40]))


@pytest.mark.parametrize("version", arguments.KNOWN_VERSIONS)
def test_schema_is_valid_json_schema_and_its_defaults_conform(version):
    jsonschema.Draft202012Validator.check_schema(arguments.schema(version))
    defaults = {name: entry["default"] for name, entry in arguments.properties(version).items() if "default" in entry}
    assert arguments.check(defaults, version) == ()


def test_schema_uses_no_keyword_that_the_quick_check_ignores():
    known = set(conformance.Property.__annotations__)

    def keywords(entry: conformance.Property) -> set[str]:
        inner = [*entry.get("anyOf", []), *([entry["items"]] if "items" in entry else [])]
        return set(entry).union(*(keywords(part) for part in inner))

    assert set().union(*(keywords(entry) for entry in PROPERTIES.values())) <= known


def test_schema_has_no_default_that_depends_on_the_machine():
    assert "default" not in PROPERTIES["optim"]  # adamw_torch_fused since torch 2.8
    assert not any("/" in str(entry.get("default")) for entry in PROPERTIES.values())


def test_arguments_that_llamafactory_derives_itself_are_unknown():
    assert not {"compute_dtype", "device_map", "model_max_length", "block_diag_attn"} & set(PROPERTIES)


def test_unknown_version_is_refused_with_the_known_ones():
    with pytest.raises(SmtrainError, match=r"0\.5\.0 are not known.(?s:.)*0\.9\.5"):
        arguments.schema("0.5.0")


# ------------------------------------------------------------------------------------------------------- good arguments

GOOD: list[dict[str, Json]] = [
    {"learning_rate": 1},
    {"learning_rate": 0.0},
    {"max_steps": -1},
    {"num_train_epochs": 0.5},
    {"preprocessing_num_workers": None},
    {"save_steps": 0.1, "eval_steps": 0.1, "logging_steps": 10},
    {"save_steps": -1},
    {"report_to": "none"},
    {"report_to": ["wandb", "tensorboard"]},
    {"report_to": []},
    {"fsdp": "full_shard auto_wrap"},
    {"fsdp": ["full_shard", "auto_wrap"]},
    {"fsdp": True},
    {"fsdp": ""},
    {"fsdp_config": {"fsdp_version": 2}},
    {"deepspeed": {"zero_optimization": {"stage": 2}}},
    {"deepspeed": "ds.json"},
    {"gradient_checkpointing_kwargs": {"use_reentrant": False}},
    {"accelerator_config": '{"split_batches": true}'},
    {"optim_args": "betas=0.9,eps=1e-4"},
    {"dataset": ["a", "b"], "lora_target": ["q_proj"], "interleave_probs": [0.5, "0.5"]},
    {"resume_from_checkpoint": True},
    {"resume_from_checkpoint": None},
    {"include_num_input_tokens_seen": True},
    {"include_num_input_tokens_seen": "non_padding"},
    {"master_port": 29500},
    {"trackio_static_space_id": False},
    {"eval_strategy": "no"},
    {"temperature": 0},
    {"top_k": -1},
    {"save_total_limit": 0},
    {"badam_switch_interval": -1},
    {"pissa_iter": -1},
    {"debug": "underflow_overflow"},
    {"max_grad_norm": float("inf")},
]


@pytest.mark.parametrize("args", GOOD, ids=str)
def test_what_the_real_code_takes_is_not_refused(args):
    assert arguments.check(args, V) == ()


# -------------------------------------------------------------------------------------------------------- bad arguments

BAD: list[tuple[str, Json, tuple[str, ...]]] = [
    ("learing_rate", 1e-4, ("unknown argument of LLaMA-Factory 0.9.5.", "Did you mean `learning_rate`?")),
    ("learning-rate", 1e-4, ("unknown argument", "Did you mean `learning_rate`?")),
    ("--Learning_Rate", 1e-4, ("unknown argument", "Did you mean `learning_rate`?")),
    ("zzzz", 1, ("unknown argument", "Leave it out")),
    ("", 1, ("unknown argument",)),
    ("__class__", 1, ("unknown argument",)),
    ("a.b[0]=$(x)\n'\"", 1, ("unknown argument",)),
    ("évaluation", 1, ("unknown argument",)),
    ("evaluation_strategy", "steps", ("not an argument of LLaMA-Factory 0.9.5", "Use `eval_strategy`.")),
    ("no_cuda", True, ("Use `use_cpu`.",)),
    ("per_gpu_train_batch_size", 1, ("Use `per_device_train_batch_size`.",)),
    ("lora_r", 8, ("Use `lora_rank`.",)),
    ("dpo_beta", 0.1, ("Use `pref_beta`.",)),
    ("quantization", 4, ("Use `quantization_bit`.",)),
    ("fp16_backend", "amp", ("Leave it out",)),
    ("fsdp_transformer_layer_cls_to_wrap", "A", ("Use `fsdp_config: {transformer_layer_cls_to_wrap: …}`.",)),
    ("save_safetensors", True, ("always writes safetensors",)),
    ("compute_dtype", "bf16", ("unknown argument",)),
    ("learning_rate", "1e-4", ('the string "1e-4"', "a number ≥ 0", "Write 1.0e-4: YAML takes 1e-4 for a string.")),
    ("learning_rate", "1E4", ("Write 1.0e+4:",)),
    ("learning_rate", "2.5e4", ("Write 2.5e+4:",)),
    ("learning_rate", "2.5e-5", ("Write it without quotes.",)),
    ("learning_rate", "fast", ('the string "fast"', "a number")),
    ("learning_rate", -0.1, ("found -0.1, out of range", "≥ 0")),
    ("learning_rate", True, ("found true", "a number")),
    ("learning_rate", None, ("found null", "a number")),
    ("learning_rate", float("nan"), ("found NaN",)),
    ("cutoff_len", "abc", ('the string "abc"', "an integer ≥ 1")),
    ("cutoff_len", "1024", ("Write it without quotes.",)),
    ("cutoff_len", 0, ("out of range",)),
    ("cutoff_len", 1.5, ("found 1.5", "an integer")),
    ("cutoff_len", [1], ("found a list",)),
    ("cutoff_len", {"a": 1}, ("found a mapping",)),
    ("do_train", "flase", ('the string "flase"', "Did you mean false?")),
    ("bf16", "yes", ("true or false",)),
    ("bf16", 1, ("found 1", "Write true.")),
    ("stage", "sftt", ("Did you mean `sft`?",)),
    ("stage", "", ("one of pt, sft, rm",)),
    ("optim", "adamw_troch", ("Did you mean `adamw_torch`?",)),
    ("optim", "adamw", ("Write adamw_torch.",)),
    ("lr_scheduler_type", "cosin", ("Did you mean `cosine`?",)),
    ("template", "lama3", ("Did you mean `llama3`?",)),
    ("template", "?", ("Choose one of: ", "qwen3_nothink")),
    ("eval_strategy", False, ('Write "no" with its quotes: YAML reads a bare no as false.',)),
    ("eval_strategy", "step", ("Did you mean `steps`?",)),
    ("save_strategy", None, ("found null",)),
    ("flash_attn", True, ("Write fa2.",)),
    ("flash_attn", "flash_attention_2", ("Write fa2.",)),
    ("fsdp", "full_shard autowrap", ("Did you mean `auto_wrap`?",)),
    ("fsdp", ["fullshard"], ('"fullshard" in the list', "Did you mean `full_shard`?")),
    ("report_to", "wandbb", ("Did you mean `wandb`?",)),
    ("report_to", ["tensorbord"], ('"tensorbord" in the list', "Did you mean `tensorboard`?")),
    ("report_to", None, ("found null",)),
    ("dataset", ["a", 3], ("found 3 in the list",)),
    ("adapter_name_or_path", ["a", "b"], ("found a list", "with commas")),
    ("lora_rank", -8, ("out of range",)),
    ("lora_dropout", 1, ("out of range", "≥ 0 and < 1")),
    ("dpo_label_smoothing", 0.6, ("out of range", "≤ 0.5")),
    ("per_device_train_batch_size", 0, ("out of range",)),
    ("gradient_accumulation_steps", 0, ("out of range",)),
    ("val_size", -1, ("out of range",)),
    ("seed", 2**32, ("out of range",)),
    ("ref_model_quantization_bit", 5, ("one of 4, 8, null",)),
    ("parallelism_config", {"tp_size": 2}, ("found a mapping", "null")),
    ("model_name_or_path", 7, ("found 7", "a string")),
    ("model_name_or_path", False, ("found false",)),
    ("output_dir", ["x" * 10_000], ("found a list",)),
]


@pytest.mark.parametrize(("name", "value", "parts"), BAD, ids=lambda case: str(case)[:40])
def test_bad_argument_is_named_with_what_was_found_and_what_to_do(name, value, parts):
    (problem,) = arguments.check({name: value}, V)
    assert problem.key == f"trainer.args.{name}"
    assert problem.is_error
    for part in parts:
        assert part in str(problem)


def test_long_value_is_shortened():
    (problem,) = arguments.check({"stage": "x" * 100_000}, V)
    assert len(str(problem)) < 400


def test_key_that_is_no_string_is_reported():
    (problem,) = arguments.check({5: 1}, V)  # type: ignore[dict-item]
    assert problem.key == "trainer.args.5"


def test_value_of_a_secret_is_never_told():
    for name in arguments.SECRETS & set(PROPERTIES):
        (problem,) = arguments.check({name: 1234567}, V)
        assert "1234567" not in str(problem)


def test_all_problems_are_reported_at_once_sorted_by_key():
    args: dict[str, Json] = {"stage": "sftt", "learning_rate": "1e-4", "cutoff_len": 0, "bogus": 1}
    keys = [problem.key for problem in arguments.check(args, V, prefix="p")]
    assert keys == ["p.bogus", "p.cutoff_len", "p.learning_rate", "p.stage"]


def test_renamed_arguments_are_unknown_and_their_new_names_known():
    assert not (set(RENAMED) | set(REMOVED)) & set(PROPERTIES)
    assert set(RENAMED.values()) <= set(PROPERTIES)
    assert not set(RENAMED) & set(REMOVED)


def test_words_meant_by_old_values_are_choices():
    assert all(word in PROPERTIES[name]["enum"] for (name, _), word in MEANT.items())


# -------------------------------------------------------------------------------------------------------- equal verdict


@cache
def _validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(PROPERTIES[name])


def _interesting(name: str) -> list[Json]:
    entry = PROPERTIES[name]
    bounds = [entry[key] for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum") if key in entry]  # type: ignore[literal-required]
    near: list[Json] = [bound + step for bound in bounds for step in (-1, -0.5, 0, 0.5, 1)]
    options = [entry, *entry.get("anyOf", [])]
    choices = [choice for option in options for choice in option.get("enum", option.get("items", {}).get("enum", []))]
    words: list[Json] = [f" {word}\n" for word in entry.get("x-words", [])]
    return [*near, *choices, *([choice] for choice in choices), *words, True, False, 0, 1, 0.0, 1.0, None, "", [], {}]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
ARGUMENT = st.sampled_from(sorted(PROPERTIES)).flatmap(
    lambda name: st.tuples(st.just(name), st.sampled_from(_interesting(name)) | JSON)
)


@settings(max_examples=1500, deadline=None)
@given(ARGUMENT)
def test_quick_check_and_jsonschema_give_one_verdict(argument):
    name, value = argument
    assert (arguments.check({name: value}, V) == ()) == _validator(name).is_valid(value)


@pytest.mark.parametrize("name", sorted(PROPERTIES))
def test_quick_check_and_jsonschema_agree_on_every_boundary(name):
    for value in _interesting(name):
        assert (arguments.check({name: value}, V) == ()) == _validator(name).is_valid(value), value


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_hostile_names_and_values_are_reported_not_raised(args):
    found = {problem.key for problem in arguments.check(args, V)}
    assert {f"trainer.args.{name}" for name in args if name not in PROPERTIES} <= found


def test_good_case_imports_no_jsonschema():
    script = (
        "import sys; from smtrain_llamafactory import arguments\n"
        "assert arguments.check({'learning_rate': 1e-4, 'stage': 'sft'}, '0.9.5') == ()\n"
        "from smtrain_llamafactory import rules\n"
        "heavy = {'jsonschema', 'torch', 'transformers', 'llamafactory', 'datasets'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run((sys.executable, "-c", script), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------------------------------------------------- the docs


@pytest.mark.parametrize("name", sorted(PROPERTIES))
def test_every_argument_has_a_help_text(name):
    text = PROPERTIES[name]["description"]
    assert text
    assert "%%" not in text


def test_whole_floats_become_integers_where_integers_are_wanted():
    args: dict[str, Json] = {"cutoff_len": 2048.0, "num_train_epochs": 3.0, "max_samples": None, "unknown": 1.0}
    exact = arguments.with_exact_integers(args, V)
    assert exact == args
    assert [type(value) for value in exact.values()] == [int, float, type(None), float]


# --------------------------------------------------------------------------------------------- LLaMA-Factory's examples

REFUSED = {
    # Its fsdp_transformer_layer_cls_to_wrap is gone from transformers 5: the real parser refuses the file too.
    "examples/extras/fp8/llama3_fp8_fsdp_sft.yaml": {"trainer.args.fsdp_transformer_layer_cls_to_wrap"},
}


def test_arguments_of_every_example_are_known(llamafactory_sdist):
    seen = 0
    for file in sorted(llamafactory_sdist.glob("examples/**/*.yaml")):
        name = file.relative_to(llamafactory_sdist).as_posix()
        args = OmegaConf.to_container(OmegaConf.load(file))
        if name.startswith(("examples/megatron/", "examples/v1/")) or "model_name_or_path" not in args:
            continue
        seen += 1
        assert {problem.key for problem in arguments.check(args, V)} == REFUSED.get(name, set()), name
    assert seen > 40
