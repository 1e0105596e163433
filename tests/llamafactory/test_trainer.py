from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from llamafactory_jobs import DATASETS, TRAINERS, job, options, rows
from omegaconf import OmegaConf
from smtrain_llamafactory import document, places, yaml_text
from smtrain_llamafactory.api_trainer import ApiTrainer
from smtrain_llamafactory.export_trainer import ExportTrainer
from smtrain_llamafactory.options import Evaluate, Export, LlamaFactoryOptions, ModelOnlyOptions, Predict
from smtrain_llamafactory.trainer import StageTrainer

from smtrain.plugin import (
    Data,
    Job,
    LocalFile,
    Model,
    ModelSource,
    OutputKind,
    Package,
    Program,
    Resume,
    RowShape,
    RuntimeVar,
    Scope,
    Staging,
    Strategy,
)

HERE = Path(__file__).parent
SFT = TRAINERS["sft"]()


def text_of(program: Program, path: str) -> str:
    return next(file.text for file in program.files if file.path == path)


def args_of(program: Program, path: str = "train.yaml") -> dict[str, object]:
    return yaml.safe_load(text_of(program, path))


def lowered(chosen: LlamaFactoryOptions, of: Job | None = None, trainer: StageTrainer = SFT) -> Program:
    return trainer.lower(of or job(rows()), chosen)


def found(chosen: LlamaFactoryOptions, of: Job | None = None, trainer: StageTrainer = SFT) -> dict[str, str]:
    problems = trainer.check(of or job(rows()), chosen)
    return {problem.key: f"{problem.what} {problem.fix}" for problem in problems if problem.is_error}


# ------------------------------------------------------------------------------------------------------ YAML that lasts


def both_read(text: str) -> tuple[object, object]:
    return yaml.safe_load(text), OmegaConf.to_container(OmegaConf.create(text))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1), inner, max_size=3),
    max_leaves=6,
)


@given(VALUES)
def test_what_arrives_is_what_was_said_for_both_readers_of_yaml(value):
    if not all(map(yaml_text.arrives_intact, yaml_text.strings(value))):
        return
    said = {"key": value}
    assert both_read(yaml_text.line("key", value)) == (said, said)


HOSTILE = [
    "1e-4",
    "1.0",
    "true",
    "No",
    "null",
    "~",
    "",
    " x",
    "2024-01-01",
    "12:30",
    "0x1f",
    "a: b",
    "# c",
    "- x",
    "*a",
]
HOSTILE += [
    "line\nbreak",
    "\r",
    "back\\",
    "\\${x}",
    "$x",
    "???",
    "é 漢字 \U0001f600",
    "\x85\u2028\ufeff\x00",
    "<<",
    "=",
]
HOSTILE += ["${x}", "a ${oc.env:HOME} b", "identity, alpaca", "[a", "{a", "%d", "'", '"', "nan", ".inf", "y"]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_string_arrives(text):
    assert both_read(yaml_text.line("key", text)) == ({"key": text}, {"key": text})


@pytest.mark.parametrize("text", ["${", "a ${x", "${a${b}}", "\ud800"])
def test_string_that_would_not_arrive_is_refused(text):
    assert "trainer.args.run_name" in found(options({"run_name": text}))


def test_malformed_interpolation_in_the_model_is_told_at_the_model():
    assert "model.template" in found(options(), job(rows(), model=Model(path="org/model", template="${")))


@pytest.mark.parametrize(
    ("number", "text"),
    [(1e-4, "0.0001"), (1e-5, "1.0e-05"), (2.5e-6, "2.5e-06"), (1e16, "1.0e+16"), (3.0, "3.0"), (3, "3")],
)
def test_numbers_are_spelled_so_that_nobody_reads_a_string(number, text):
    assert yaml_text.scalar(number) == text
    assert [type(value["key"]) for value in both_read(f"key: {text}")] == [type(number)] * 2


def test_every_known_argument_has_a_group_and_groups_keep_their_order():
    text = text_of(lowered(options({"val_size": 0.1, "lora_rank": 8, "learning_rate": 1e-4})), "train.yaml")
    titles = re.findall(r"^### (\w+)$", text, re.M)
    assert titles == ["model", "method", "dataset", "output", "train", "eval"]


def test_order_of_the_users_arguments_does_not_matter():
    one, other = {"lora_rank": 8, "bf16": True, "zzz": 1}, {"zzz": 1, "bf16": True, "lora_rank": 8}
    assert document.render("a", one) == document.render("a", other)


# ---------------------------------------------------------------------------------------------------- derived arguments


def test_train_yaml_says_all_that_the_run_says():
    model = Model(path="org/model", revision="v1", template="qwen3", trust_remote_code=True)
    held_out = rows("eval", role="eval", file_name="eval.jsonl")
    made = job(rows(), held_out, model=model, micro=2, accumulation=4, seed=7, accelerator="cpu")
    assert args_of(lowered(options({"learning_rate": 1e-4}), made)) == {
        "model_name_or_path": "org/model",
        "model_revision": "v1",
        "trust_remote_code": True,
        "stage": "sft",
        "do_train": True,
        "dataset": "train",
        "eval_dataset": "eval",
        "template": "qwen3",
        "output_dir": "output",
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 4,
        "learning_rate": 1e-4,
        "seed": 7,
        "use_cpu": True,
    }


@pytest.mark.parametrize("action", ["do_eval", "do_predict"])
def test_a_run_that_asks_for_something_else_does_not_train(action):
    assert "do_train" not in args_of(lowered(options({action: True})))


CONTRADICTIONS = [
    ("stage", "dpo", "trainer=lf_dpo"),
    ("model_name_or_path", "other/model", "model.path"),
    ("model_revision", "v2", "model.revision"),
    ("adapter_name_or_path", "a/b", "model.adapter"),
    ("template", "qwen", "model.template"),
    ("trust_remote_code", True, "model.trust_remote_code"),
    ("dataset", "train,other", "data.path"),
    ("eval_dataset", "other", "data.eval_path"),
    ("dataset_dir", "elsewhere", "data.dataset_info"),
    ("output_dir", "/tmp/out", "storage.output"),
    ("output_dir", "../out", "storage.output"),
    ("deepspeed", "ds.json", "strategy.document"),
    ("fsdp", "full_shard", "strategy=fsdp"),
    ("seed", 7, "set seed"),
    ("resume_from_checkpoint", "output/checkpoint-3", "resume=auto"),
    ("use_cpu", True, "compute=cpu"),
]


@pytest.mark.parametrize(("name", "value", "setting"), CONTRADICTIONS)
def test_argument_that_says_something_else_is_refused_with_the_setting_to_use(name, value, setting):
    assert setting in found(options({name: value}))[f"trainer.args.{name}"]


AGREEING = [
    ("stage", "sft"),
    ("model_name_or_path", "org/model"),
    ("model_revision", "main"),
    ("adapter_name_or_path", None),
    ("trust_remote_code", False),
    ("dataset", " train"),
    ("dataset_dir", "data"),
    ("output_dir", "saves/qwen/lora"),
    ("deepspeed", None),
    ("seed", 42),
    ("resume_from_checkpoint", None),
    ("use_cpu", False),
]


@pytest.mark.parametrize(("name", "value"), AGREEING)
def test_argument_that_says_the_same_keeps_its_spelling(name, value):
    chosen = options({name: value})
    assert not found(chosen)
    assert args_of(lowered(chosen))[name] == value


def test_comma_list_with_spaces_is_kept_as_it_was_spelled():
    made = job(rows("identity"), rows("alpaca"))
    chosen = options({"dataset": "identity, alpaca"})
    assert not found(chosen, made)
    assert args_of(lowered(chosen, made))["dataset"] == "identity, alpaca"


def test_defaults_are_left_out_only_while_they_are_the_defaults():
    chosen = options(omit_defaults=("seed", "gradient_accumulation_steps"))
    assert not {"seed", "gradient_accumulation_steps"} & args_of(lowered(chosen)).keys()
    assert args_of(lowered(chosen, job(rows(), seed=3)))["seed"] == 3


def test_misspelt_and_contradicting_arguments_are_told_together():
    assert {"trainer.args.learing_rate", "trainer.args.seed"} <= found(options({"learing_rate": 1, "seed": 1})).keys()


@pytest.mark.parametrize("folder", ["data", "data/x", "train.yaml", "inputs"])
def test_results_are_not_written_over_what_is_read(folder):
    made = job(rows(), model=Model(path="/m", template="x"), source=ModelSource.FOLDER)
    assert "trainer.args.output_dir" in found(options({"output_dir": folder}), made)


# ------------------------------------------------------------------------------------------------------- model, adapter


def test_hub_model_is_named_and_not_linked():
    program = lowered(options())
    assert args_of(program)["model_name_or_path"] == "org/model"
    assert [item.name for item in program.inputs] == ["data-1"]


@pytest.mark.parametrize(
    ("path", "source", "staging"),
    [("/models/m", ModelSource.FOLDER, Staging.IN_PLACE), ("s3://b/m", ModelSource.S3, Staging.COPY)],
)
def test_other_models_are_linked_into_the_working_directory(path, source, staging):
    program = lowered(options(), job(rows(), model=Model(path=path, template="x"), source=source))
    assert args_of(program)["model_name_or_path"] == "inputs/model"
    model = program.inputs[0]
    assert (model.uri, model.staging, model.path) == (path, staging, "inputs/model")


def test_relative_spelling_of_a_folder_stands_and_the_folder_is_linked_there():
    made = job(rows(), model=Model(path="root/saves/x/y", template="qwen3"), source=ModelSource.FOLDER)
    chosen = options({"model_name_or_path": "saves/x/y"})
    assert not found(chosen, made)
    program = lowered(chosen, made)
    assert args_of(program)["model_name_or_path"] == "saves/x/y"
    assert (program.inputs[0].path, program.inputs[0].uri) == ("saves/x/y", "root/saves/x/y")


def test_several_adapters_are_linked_one_by_one():
    program = lowered(options(), job(rows(), model=Model(path="org/model", adapter="/a, org/b,s3://c/d")))
    assert args_of(program)["adapter_name_or_path"] == "inputs/adapter-1,org/b,inputs/adapter-3"
    assert [item.uri for item in program.inputs[:2]] == ["/a", "s3://c/d"]


def test_reward_model_folder_is_linked():
    program = lowered(options({"reward_model": "/rewards/m"}), trainer=TRAINERS["ppo"]())
    assert args_of(program)["reward_model"] == "inputs/reward-model"
    assert program.inputs[0].uri == "/rewards/m"


@pytest.mark.parametrize(
    ("path", "inside"),
    [("a/b", True), ("./a", True), ("/a", False), ("../a", False), ("a/../../b", False), ("~/a", False), (".", False)],
)
def test_only_paths_inside_the_working_directory_are_relative(path, inside):
    assert places.is_relative(path) is inside


# ----------------------------------------------------------------------------------------------------------------- data


def info_of(program: Program) -> dict[str, dict[str, object]]:
    return json.loads(text_of(program, "data/dataset_info.json"))


def test_generated_dataset_info_names_every_column_and_tag():
    chat = rows("chat", format="openai", columns={"messages": "m"}, tags={"role_tag": "role"}, file_name="c.parquet")
    info = info_of(lowered(options(), job(rows(), chat)))
    assert info["train"] == {
        "file_name": "train.jsonl",
        "formatting": "alpaca",
        "columns": {"prompt": "instruction", "query": "input", "response": "output"},
    }
    assert info["chat"] == {
        "file_name": "chat.parquet",
        "formatting": "openai",
        "columns": {"messages": "m"},
        "tags": {"role_tag": "role"},
    }


def test_hub_data_set_keeps_its_subset_split_and_size():
    hub = rows(
        "h", source="hub", location="org/d", files=(), attributes={"subset": "en", "split": "x", "num_samples": 9}
    )
    program = lowered(options(), job(hub))
    assert info_of(program)["h"]["hf_hub_url"] == "org/d"
    assert {"subset": "en", "split": "x", "num_samples": 9}.items() <= info_of(program)["h"].items()
    assert not program.inputs


@pytest.mark.parametrize("name", ["../up", "a/b", "a b", "$(x)", "dataset_info", "é", "", ".hidden", "line\nbreak"])
def test_hostile_set_names_reach_llamafactory_but_no_path(name):
    program = lowered(options(), job(rows(name), rows("other")))
    assert args_of(program)["dataset"] == f"{name},other"
    (path,) = {item.path for item in program.inputs if item.name == "data-1"}
    assert re.fullmatch(r"data/[A-Za-z0-9_-][A-Za-z0-9._-]*\.jsonl", path)
    assert f"data/{info_of(program)[name]['file_name']}" == path


def test_sets_whose_names_look_alike_as_paths_get_files_of_their_own():
    program = lowered(options(), job(rows("a b"), rows("a/b")))
    assert len({item.path for item in program.inputs}) == 2


def test_folder_of_several_files_is_named_as_a_folder():
    files = tuple(LocalFile(path=Path(f"/x/{n}.jsonl"), sha256="", size=1) for n in range(2))
    program = lowered(options(), job(rows(files=files)))
    assert info_of(program)["train"]["file_name"] == "train"
    assert program.inputs[0].path == "data/train"


@pytest.mark.parametrize(("uri", "path"), [("s3://b/x.jsonl", "data/train.jsonl"), ("s3://b/folder/", "data/train")])
def test_rows_in_s3_are_copied(uri, path):
    (item,) = lowered(options(), job(rows(source="s3", location=uri, files=()))).inputs
    assert (item.staging, item.uri, item.path) == (Staging.COPY, uri, path)


OWN = b'{"mine": {"file_name": "sub/rows.json"}, "folder": {"file_name": "many"}}\n'


def test_own_dataset_info_is_used_byte_by_byte_with_its_files_where_it_names_them():
    sets = (rows("mine", file_name="sub/rows.json"), rows("folder", location="many", file_name="one.json"))
    program = lowered(options(), job(*sets, dataset_info=OWN, data=Data(dataset_info="x/dataset_info.json")))
    assert text_of(program, "data/dataset_info.json").encode() == OWN
    # A folder of one file stays a folder, from which LLaMA-Factory lists the files.
    assert [item.path for item in program.inputs] == ["data/sub/rows.json", "data/many/one.json"]


def test_own_dataset_dir_is_kept_when_it_is_the_folder_of_the_dataset_info():
    made = job(rows("mine"), dataset_info=OWN, data=Data(dataset_info="root/my/sets/dataset_info.json"))
    chosen = options({"dataset_dir": "my/sets"})
    assert not found(chosen, made)
    program = lowered(chosen, made)
    assert args_of(program)["dataset_dir"] == "my/sets"
    assert text_of(program, "my/sets/dataset_info.json").encode() == OWN


@pytest.mark.parametrize("name", ["/abs/rows.json", "../rows.json"])
def test_own_dataset_info_may_not_leave_its_folder(name):
    made = job(rows("mine", location=name), dataset_info=OWN, data=Data(dataset_info="x/dataset_info.json"))
    assert "data" in found(options(), made)


@pytest.mark.parametrize("where", ["REMOTE:org/sets", "ONLINE"])
def test_data_sets_described_elsewhere_are_left_to_the_target(where):
    made = job(rows("a", source="hub", files=()), data=Data(dataset_info=where, names=("a",)))
    program = lowered(options(), made)
    assert args_of(program)["dataset_dir"] == where
    assert [file.path for file in program.files] == ["train.yaml"]


# ------------------------------------------------------------------------------------------------- strategy and program


@pytest.mark.parametrize("name", ["rows.jsonl.gz", "rows.pt", "rows.json.zst"])
def test_files_that_its_loader_knows_no_suffix_of_are_refused(name):
    of_file, of_s3 = rows(file_name=name), rows(source="s3", location=f"s3://bucket/{name}", files=())
    assert "LLaMA-Factory reads .arrow, .csv" in found(options(), job(of_file))["data"]
    assert "LLaMA-Factory reads .arrow, .csv" in found(options(), job(of_s3))["data.path"]


def test_single_process_is_started_without_a_launcher():
    (step,) = lowered(options()).steps
    resume = Resume("resume_from_checkpoint=")
    assert step.argv == (RuntimeVar.PYTHON, "-m", "llamafactory.launcher", "train.yaml", resume)


@pytest.mark.parametrize("kind", ["zero2", "zero3_offload"])
def test_deepspeed_document_lies_where_train_yaml_says(kind):
    program = lowered(options(), job(rows(), strategy=Strategy(kind=kind), processes=2))
    path = args_of(program)["deepspeed"]
    assert json.loads(text_of(program, path))["zero_optimization"]["stage"] == int(kind[4])
    assert Package(name="deepspeed") in program.needs.packages
    assert (program.steps[0].scope, program.steps[0].distributed) == (Scope.EVERY_NODE, True)


def test_own_deepspeed_document_keeps_its_bytes_and_its_place():
    own = b'{"zero_optimization": {"stage": 3},\n "train_batch_size": "auto"}'
    strategy = Strategy(kind="zero3", document="root/configs/ds.json")
    made = job(rows(), strategy=strategy, document=own, processes=2)
    chosen = options({"deepspeed": "configs/ds.json"})
    assert not found(chosen, made)
    program = lowered(chosen, made)
    assert args_of(program)["deepspeed"] == "configs/ds.json"
    assert text_of(program, "configs/ds.json").encode() == own


def test_deepspeed_argument_cannot_stand_for_a_document_that_smtrain_writes():
    made = job(rows(), strategy=Strategy(kind="zero3"), processes=2)
    assert "strategy.document" in found(options({"deepspeed": "my/ds.json"}), made)["trainer.args.deepspeed"]


def test_fsdp_arguments_of_the_user_stand():
    made = job(rows(), strategy=Strategy(kind="fsdp"), processes=2)
    chosen = options({"fsdp": ["full_shard", "auto_wrap"], "finetuning_type": "full"})
    assert not found(chosen, made)
    args = args_of(lowered(chosen, made))
    assert (args["fsdp"], "fsdp_config" in args) == (["full_shard", "auto_wrap"], False)


def test_training_keeps_model_checkpoints_and_logs_in_the_output_dir():
    program = lowered(options({"output_dir": "./saves/x"}))
    (output,) = program.outputs
    assert (output.path, set(output.kinds)) == ("saves/x", set(OutputKind))
    assert (output.checkpoint_glob, output.checkpoint_complete) == ("checkpoint-*", "trainer_state.json")
    assert program.progress is not None
    assert program.progress.path == "./saves/x/trainer_log.jsonl"


NEEDED = [
    ({}, set()),
    ({"quantization_bit": 4}, {"bitsandbytes"}),
    ({"quantization_bit": 8, "quantization_method": "hqq"}, {"hqq"}),
    ({"optim": "paged_adamw_8bit"}, {"bitsandbytes"}),
    ({"report_to": ["wandb", "tensorboard"]}, {"wandb", "tensorboard"}),
    ({"report_to": "none"}, set()),
    ({"enable_liger_kernel": True}, {"liger-kernel"}),
    ({"plot_loss": True}, {"matplotlib"}),
]


@pytest.mark.parametrize(("args", "names"), NEEDED)
def test_target_needs_the_packages_that_the_arguments_use(args, names):
    packages = lowered(options(args)).needs.packages
    own = (Package(name="llamafactory", specifier="==0.9.5"), Package(name="torch", specifier=">=2.4"))
    assert (packages[0], packages[-1]) == own
    assert {package.name for package in packages[1:-1]} == names


# -------------------------------------------------------------------------------------------------------------- demands


def test_demands_follow_the_stage_and_the_arguments():
    run = job().run
    args = {"per_device_train_batch_size": 2, "num_train_epochs": 1.5, "max_samples": 10, "val_size": 0.1}
    demands = SFT.demands(run, options(args))
    assert (demands.rows, demands.micro_batch_size, demands.epochs) == (RowShape.PROMPT_RESPONSE, 2, 1.5)
    assert (demands.max_samples, demands.eval_fraction, demands.packing) == (10, 0.1, False)
    assert SFT.demands(run, options()).epochs == 3.0
    assert TRAINERS["pt"]().demands(run, options()).packing
    assert not TRAINERS["pt"]().demands(run, options({"packing": False})).packing


def test_demands_do_not_stumble_over_wrong_types():
    wrong = {"per_device_train_batch_size": "2", "max_steps": True, "val_size": "x", "num_train_epochs": None}
    assert SFT.demands(job().run, options(wrong)).epochs == 3.0


# ---------------------------------------------------------------------------------------------------------- later steps


def test_later_steps_work_on_the_very_model_that_was_trained():
    made = job(rows(), rows("held", role="eval"), model=Model(path="org/model", template="qwen3"))
    chosen = options(
        {"output_dir": "saves/x", "finetuning_type": "lora", "learning_rate": 1e-4, "bf16": True, "plot_loss": True},
        export=Export(enabled=True, args={"export_size": 2}),
        evaluate=Evaluate(enabled=True, args={"per_device_eval_batch_size": 2}),
        predict=Predict(enabled=True, args={"max_new_tokens": 8}),
    )
    assert not found(chosen, made)
    program = lowered(chosen, made)
    assert [step.name for step in program.steps] == ["train", "export", "evaluate", "predict"]
    for name in ("export", "evaluate", "predict"):
        args = args_of(program, f"{name}.yaml")
        assert (args["model_name_or_path"], args["adapter_name_or_path"]) == ("org/model", "saves/x")
        assert args["template"] == "qwen3"
        assert not {"do_train", "learning_rate", "dataset", "plot_loss"} & args.keys()
    assert args_of(program, "export.yaml")["export_size"] == 2
    assert args_of(program, "evaluate.yaml").items() >= {"do_eval": True, "bf16": True, "eval_dataset": "held"}.items()
    assert args_of(program, "predict.yaml").items() >= {"do_predict": True, "predict_with_generate": True}.items()
    assert [output.path for output in program.outputs] == ["saves/x", "export", "evaluate", "predict"]


def test_evaluation_after_full_tuning_reads_the_trained_model():
    chosen = options({"finetuning_type": "full", "val_size": 0.1}, evaluate=Evaluate(enabled=True))
    args = args_of(lowered(chosen), "evaluate.yaml")
    assert (args["model_name_or_path"], "adapter_name_or_path" in args) == ("output", False)
    assert (args["dataset"], args["val_size"]) == ("train", 0.1)


def test_quantised_training_is_merged_into_the_unquantised_model():
    chosen = options({"quantization_bit": 4, "resize_vocab": False}, export=Export(enabled=True))
    args = args_of(lowered(chosen), "export.yaml")
    assert "quantization_bit" not in args
    assert "resize_vocab" in args


@pytest.mark.parametrize(("new", "chain"), [(False, "org/a,output"), (True, "org/a,org/b,output")])
def test_earlier_adapters_stay_in_the_merge(new, chain):
    made = job(rows(), model=Model(path="org/model", template="x", adapter="org/a,org/b"))
    chosen = options({"create_new_adapter": new}, export=Export(enabled=True))
    assert args_of(lowered(chosen, made), "export.yaml")["adapter_name_or_path"] == chain


def test_dpo_is_evaluated_against_the_model_that_it_started_from():
    chosen = options({"val_size": 0.1}, evaluate=Evaluate(enabled=True))
    program = lowered(chosen, job(DATASETS["dpo"]), TRAINERS["dpo"]())
    assert args_of(program, "evaluate.yaml")["ref_model"] == "org/model"


def test_later_steps_of_several_processes_stay_on_the_first_node():
    made = job(rows(), strategy=Strategy(kind="ddp"), nodes=2, processes=4)
    step = lowered(options({"val_size": 0.1}, evaluate=Evaluate(enabled=True)), made).steps[1]
    assert (step.scope, step.distributed, "--standalone" in step.argv) == (Scope.FIRST_NODE, True, True)
    assert RuntimeVar.NUM_NODES not in step.argv


REFUSED_STEPS = [
    ("sft", {"finetuning_type": "full"}, "export", "nothing to merge"),
    ("sft", {"finetuning_type": "oft"}, "export", "loads none"),
    ("sft", {"pissa_init": True}, "export", "pissa_convert"),
    ("sft", {}, "evaluate", "val_size"),
    ("ppo", {"val_size": 0.1}, "evaluate", "no evaluation"),
    ("dpo", {"val_size": 0.1}, "predict", "cannot predict"),
]


@pytest.mark.parametrize(("stage", "args", "step", "reason"), REFUSED_STEPS)
def test_step_that_could_not_work_is_refused(stage, args, step, reason):
    asked = {"export": Export, "evaluate": Evaluate, "predict": Predict}[step](enabled=True)
    problems = found(options(args, **{step: asked}), job(DATASETS[stage]), TRAINERS[stage]())
    assert reason in problems[f"trainer.{step}.enabled"]


def test_merge_into_a_quantised_model_is_refused():
    made = job(
        rows(), model=Model(path="/m", template="x"), source=ModelSource.FOLDER, config={"quantization_config": {}}
    )
    assert "trainer.export.enabled" in found(options(export=Export(enabled=True)), made)


def test_later_step_breaks_no_rule_with_its_own_arguments():
    chosen = options(export=Export(enabled=True, args={"export_quantization_bit": 4}))
    assert "merged" in found(chosen)["trainer.export.args.export_quantization_bit"]


@pytest.mark.parametrize(("quantised", "refused"), [({}, False), ({"quantization_bit": 4}, True)])
def test_export_does_not_merge_into_a_model_quantised_on_loading(quantised, refused):
    made = job(model=Model(path="org/model", template="qwen3", adapter="org/a"))
    problems = list(ExportTrainer().check(made, ModelOnlyOptions(args=quantised)))
    assert bool(problems) is refused


@pytest.mark.parametrize("name", ["model_name_or_path", "adapter_name_or_path", "template"])
def test_later_step_cannot_name_another_model(name):
    chosen = options(export=Export(enabled=True, args={name: "other"}))
    assert f"trainer.export.args.{name}" in found(chosen)


def test_results_of_two_steps_do_not_share_a_folder():
    chosen = options(export=Export(enabled=True, args={"export_dir": "output/merged"}))
    assert "trainer.export.args" in found(chosen)


# ------------------------------------------------------------------------------------------------------------- PPO, v1…


def test_ppo_compiles_and_is_refused_unless_the_environment_is_said_to_be_able():
    ppo, made, args = TRAINERS["ppo"](), job(DATASETS["ppo"]), {"reward_model": "org/reward"}
    assert "cannot run PPO" in found(options(args), made, ppo)["trainer"]
    able = options(args, ppo_capable_environment=True)
    assert not found(able, made, ppo)
    assert args_of(lowered(able, made, ppo))["stage"] == "ppo"


def test_unknown_version_is_refused():
    assert "0.9.5" in found(options(version="0.1"))["trainer.version"]


def test_arguments_of_another_engine_pass_unchecked_with_a_warning():
    chosen = options({"tensor_model_parallel_size": 4}, engine="mcore")
    (problem,) = SFT.check(job(rows()), chosen)
    assert (problem.key, problem.is_error) == ("trainer.engine", False)
    program = lowered(chosen)
    assert [(variable.name, variable.value) for variable in program.env] == [("USE_MCA", "1")]
    assert args_of(program)["tensor_model_parallel_size"] == 4


def test_export_of_an_adapter():
    made = job(model=Model(path="org/model", template="qwen3", adapter="/a"))
    program = ExportTrainer().lower(made, ModelOnlyOptions(args={"export_size": 5}))
    assert not list(ExportTrainer().check(made, ModelOnlyOptions()))
    assert args_of(program, "export.yaml") == {
        "model_name_or_path": "org/model",
        "adapter_name_or_path": "inputs/adapter",
        "template": "qwen3",
        "export_dir": "export",
        "export_size": 5,
    }
    assert program.steps[0].argv == (RuntimeVar.PYTHON, "-m", "llamafactory.cli", "export", "export.yaml")
    assert program.outputs[0].kinds == (OutputKind.MODEL,)


def test_api_serves_the_model():
    made = job(model=Model(path="org/model", template="qwen3"))
    program = ApiTrainer().lower(made, ModelOnlyOptions(args={"infer_backend": "vllm"}))
    assert program.steps[0].argv[-2:] == ("api", "inference.yaml")
    assert Package(name="vllm") in program.needs.packages


# ------------------------------------------------------------------------------------------------------ the real parser

TUNINGS = {
    "lora": {"finetuning_type": "lora", "lora_rank": 8, "lora_target": "all"},
    "qlora": {"finetuning_type": "lora", "quantization_bit": 4, "double_quantization": True},
    "full": {"finetuning_type": "full"},
    "freeze": {"finetuning_type": "freeze", "freeze_trainable_layers": 1},
    "oft": {"finetuning_type": "oft", "oft_target": "all"},
}
COMMON = {"learning_rate": 1e-5, "warmup_steps": 0.1, "plot_loss": True, "report_to": "none", "logging_steps": 10}


def test_every_stage_with_every_tuning_is_accepted_by_llamafactory(with_llamafactory):
    cases, names = [], []
    for stage, trainer in TRAINERS.items():
        for tuning, args in TUNINGS.items():
            own = {
                **COMMON,
                **args,
                **({"reward_model": "org/r", "reward_model_type": "full"} if stage == "ppo" else {}),
            }
            later = {"export": Export(enabled=tuning == "lora")}
            if trainer.stage.evaluates and tuning != "oft":
                own["val_size"] = 0.1
                later["evaluate"] = Evaluate(enabled=True)
            chosen = options(own, ppo_capable_environment=True, **later)
            made = job(DATASETS[stage], accelerator="cpu")
            assert not found(chosen, made, trainer()), (stage, tuning)
            program = lowered(chosen, made, trainer())
            for file in program.files:
                if file.path.endswith(".yaml"):
                    read = OmegaConf.to_container(OmegaConf.create(file.text))
                    cases.append({"args": read, "training": file.path != "export.yaml"})
                    names.append((stage, tuning, file.path))
    done = with_llamafactory(HERE / "real_parser.py", stdin=json.dumps(cases))
    assert done.returncode == 0, done.stderr[-2000:]
    refused = {name: verdict for name, verdict in zip(names, json.loads(done.stdout), strict=True) if verdict}
    assert not refused


@pytest.mark.parametrize(("processes", "kind", "told"), [(2, "ddp", True), (1, "ddp", False), (2, "zero2", False)])
def test_several_cpu_processes_are_warned_that_they_cannot_resume(processes, kind, told):
    made = job(rows(), accelerator="cpu", processes=processes, strategy=Strategy(kind=kind))
    found = list(TRAINERS["sft"]().check(made, options()))
    assert any("resume=never" in problem.fix and not problem.is_error for problem in found) is told
