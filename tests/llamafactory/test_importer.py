from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from smtrain_llamafactory import experiment, omegaconf_yaml
from smtrain_llamafactory.importer import Importer

from smtrain.plugin import Program, SmtrainError
from smtrain.testing import compile_overrides

HERE = Path(__file__).parent
FILES = ("train.yaml", "export.yaml", "inference.yaml")

TRAIN = """\
model_name_or_path: org/model
stage: dpo
do_train: true
finetuning_type: lora
dataset: pairs
template: llama3
output_dir: saves/x
per_device_train_batch_size: 2
learning_rate: 1e-5
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which LLaMA-Factory could be started; it is the current one."""
    (tmp_path / "data").mkdir()
    info = {
        "pairs": {
            "file_name": "pairs.json",
            "ranking": True,
            "columns": {"prompt": "p", "chosen": "c", "rejected": "r"},
        },
        "chat": {"file_name": "chat.json"},
    }
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps(info))
    (tmp_path / "data" / "pairs.json").write_text(json.dumps([{"p": "x", "c": "yes", "r": "no"}] * 20))
    (tmp_path / "data" / "chat.json").write_text(json.dumps([{"instruction": "x", "input": "", "output": "y"}] * 20))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def imported(text: str, root: Path = Path(), source: str = "old.yaml") -> str:
    return Importer().convert(text, source=source, root=root)


def refused(text: str, root: Path = Path()) -> str:
    with pytest.raises(SmtrainError) as caught:
        imported(text, root)
    return str(caught.value)


def compiled(text: str, folder: Path, *overrides: str) -> Program:
    """Compiles an imported experiment as its user would: from a file in a folder of configs."""
    (folder / "conf" / "experiment").mkdir(parents=True, exist_ok=True)
    (folder / "conf" / "experiment" / "old.yaml").write_text(text)
    return compile_overrides(["experiment=old", *overrides], config_dir=folder / "conf").program


def read(text: str) -> dict[str, object]:
    return OmegaConf.to_container(OmegaConf.create(text))


def document_of(program: Program) -> dict[str, object]:
    return read(next(file.text for file in program.files if file.path in FILES))


# ----------------------------------------------------------------------------------------------------------- round trip


@pytest.mark.parametrize(
    "more",
    [
        "",
        "seed: 42\n",
        "seed: 7\n",
        "gradient_accumulation_steps: 1\n",
        "resume_from_checkpoint: null\n",
        "dataset_dir: data\n",
        "dataset_dir: ./data\n",
        "trust_remote_code: false\n",
        "model_revision: main\n",
        "adapter_name_or_path: null\n",
        "run_name: '${HOME} and ${x}'\n",
        "run_name: 'back\\\\${x}'\n",
        "run_name: '1e-4'\n",
        "fsdp: ''\n",
        "lr_scheduler_kwargs: {num_cycles: 3, name: 'a, b'}\n",
        "use_cpu: true\n",
    ],
)
def test_compiling_what_was_imported_gives_the_same_arguments(root, more):
    text = TRAIN + more
    assert document_of(compiled(imported(text), root)) == read(text)


def test_nothing_is_added_where_everything_was_left_to_defaults(root):
    text = "model_name_or_path: org/model\ndo_train: true\ndataset: chat\noutput_dir: out\n"
    assert document_of(compiled(imported(text), root)) == read(text)


def test_spelling_of_lists_of_data_sets_stands(root):
    text = TRAIN.replace("dataset: pairs", "dataset: 'pairs , pairs'").replace("do_train", "do_train")
    assert document_of(compiled(imported(text), root))["dataset"] == "pairs , pairs"


def test_it_compiles_from_another_folder_when_the_root_is_named(root, tmp_path_factory, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    program = compiled(imported(TRAIN, root), elsewhere)
    assert document_of(program) == read(TRAIN)
    assert [item.path for item in program.inputs] == ["data/pairs.json"]


def test_imported_settings_can_still_be_overridden(root):
    text = imported(TRAIN)
    program = compiled(text, root, "micro_batch_size=4", "trainer.args.learning_rate=1e-3", "seed=1")
    changed = {"per_device_train_batch_size": 4, "learning_rate": 1e-3, "seed": 1}
    assert document_of(program) == {**read(TRAIN), **changed}


def test_yaml_that_asks_for_nothing_trains_nothing(root):
    assert document_of(compiled(imported(TRAIN.replace("do_train: true\n", "")), root))["do_train"] is False


def test_deepspeed_document_keeps_its_place_and_its_bytes(root):
    (root / "ds").mkdir()
    own = '{"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}},\n "bf16": {"enabled": "auto"},'
    own += '\n "train_batch_size": "auto", "train_micro_batch_size_per_gpu": "auto",'
    own += '\n "gradient_accumulation_steps": "auto"}'
    (root / "ds" / "z2.json").write_text(own)
    text = TRAIN + "deepspeed: ds/z2.json\nbf16: true\n"
    experiment_text = imported(text)
    assert "kind: zero2_offload" in experiment_text
    program = compiled(experiment_text, root, "compute.processes_per_node=2")
    assert document_of(program) == read(text)
    assert next(file.text for file in program.files if file.path == "ds/z2.json") == own


def test_folders_of_models_and_adapters_are_linked_where_the_yaml_names_them(root):
    (root / "saves/a/base").mkdir(parents=True)
    (root / "saves/a/base/config.json").write_text("{}")
    (root / "saves/a/base/model.safetensors").write_text("")
    adapter(root / "saves/a/lora")
    text = "model_name_or_path: saves/a/base\nadapter_name_or_path: saves/a/lora\nexport_dir: saves/merged\n"
    program = compiled(imported(text), root)
    assert document_of(program) == read(text)
    assert [item.path for item in program.inputs] == ["saves/a/base", "saves/a/lora"]
    assert [output.path for output in program.outputs] == ["saves/merged"]


def test_accelerate_yaml_becomes_strategy_launcher_and_processes(root):
    (root / "acc.yaml").write_text("distributed_type: FSDP\nnum_machines: 2\nnum_processes: 8\n")
    made = yaml.safe_load(imported((root / "acc.yaml").read_text(), source="acc.yaml"))
    assert made["strategy"] == {"document": "acc.yaml"}
    assert made["compute"] == {"nodes": 2, "processes_per_node": 4}
    assert {"override /launcher": "accelerate"} in made["defaults"]
    assert {"override /strategy": "fsdp"} in made["defaults"]


# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<|token|>: meaning\n", "no configuration of LLaMA-Factory"),
        ("- a\n", "No mapping"),
        ("a: [\n", "old.yaml:2: Not valid YAML"),
        ("a: 1\na: 2\n", "old.yaml:2: a: The key comes twice, first in line 1"),
        (TRAIN + "evaluation_strategy: steps\n", r"old.yaml:10: evaluation_strategy: .*(?s:.)*eval_strategy"),
        (TRAIN + "learing_rate: 1\n", r"old.yaml:10: learing_rate: unknown(?s:.)*learning_rate"),
        (TRAIN + "lora_rank: many\n", "old.yaml:10: lora_rank"),
        (TRAIN + "run_name: '???'\n", "old.yaml:10: run_name"),
        (TRAIN + "deepspeed: absent.json\n", "old.yaml:10: deepspeed: .*absent.json"),
        (TRAIN + "dataset_dir: absent\n", "old.yaml:10: dataset_dir: .*absent/dataset_info.json"),
        (TRAIN + "resume_from_checkpoint: saves/x/checkpoint-3\n", "old.yaml:10: resume_from_checkpoint"),
        ("distributed_type: TPU\n", "old.yaml:1: distributed_type"),
        ("distributed_type: FSDP\nnum_machines: 2\nnum_processes: 3\n", "old.yaml:3: num_processes"),
    ],
)
def test_what_cannot_be_imported_is_refused_with_its_line(root, text, said):
    assert re.search(said, refused(text))


def test_all_mistakes_are_told_at_once(root):
    assert len(refused(TRAIN + "learing_rate: 1\nlora_rank: many\n").splitlines()) >= 2


# -------------------------------------------------------------------------------------------------------------- reading


@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_strings_survive_the_escape_of_interpolations(text):
    escaped = experiment.escaped(text)
    if text == "???":
        return
    assert OmegaConf.to_container(OmegaConf.create({"key": escaped}), resolve=True) == {"key": text}


@pytest.mark.parametrize("value", ["1e-4", "1.0e-4", "2024-01-01", "1_000", "yes", "0o17", "1:30", ".5", "1e5", "nan"])
def test_yaml_is_read_as_omegaconf_reads_it(value):
    text = f"key: {value}\n"
    mine, theirs = omegaconf_yaml.read(text, "x").values["key"], OmegaConf.create(text)["key"]
    assert (mine, type(mine)) == (theirs, type(theirs))


# ----------------------------------------------------------------------------------------- LLaMA-Factory's own examples

NO_CONFIGURATION = {"extras/multi_tokens/tokens_cfg.yaml"}
"""Descriptions of tokens."""

OTHER_SPELLING = {
    # transformers 5 took the argument away: the real parser refuses the example itself.
    "extras/fp8/llama3_fp8_fsdp_sft.yaml": {
        "fsdp_transformer_layer_cls_to_wrap": None,
        "fsdp_config": {"transformer_layer_cls_to_wrap": ["LlamaDecoderLayer"]},
    },
}


@pytest.fixture(scope="session")
def examples(llamafactory_sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LLaMA-Factory's examples and data, with what its user is to supply: data sets and results of earlier runs."""
    root = tmp_path_factory.mktemp("root")
    for name in ("data", "examples"):
        shutil.copytree(llamafactory_sdist / name, root / name)
    file = root / "data" / "dataset_info.json"
    described = json.loads(file.read_text()) | {name: {"file_name": "identity.json"} for name in ("math", "med")}
    file.write_text(json.dumps(described))
    model = root / "saves" / "qwen3-4b" / "full" / "sft"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_text("")
    return root


def adapter(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_text("")


def example_files(examples: Path) -> dict[str, Path]:
    found = {path.relative_to(examples / "examples").as_posix(): path for path in examples.rglob("examples/**/*.yaml")}
    return {name: path for name, path in sorted(found.items()) if name not in NO_CONFIGURATION}


def wanted(name: str, path: Path) -> dict[str, object]:
    said = read(path.read_text()) | OTHER_SPELLING.get(name, {})
    return {key: value for key, value in said.items() if value is not None or key not in OTHER_SPELLING.get(name, {})}


def program_of(path: Path, examples: Path, folder: Path) -> Program:
    source = path.relative_to(examples).as_posix()
    text = imported(path.read_text(), Path(), source)
    # The local backend has one node.
    return compiled(text, folder, *(["compute.nodes=1"] if "multiple_nodes" in source else []))


def test_every_example_is_imported_and_compiled_into_an_equal_yaml(examples, tmp_path, monkeypatch):
    monkeypatch.chdir(examples)
    files = example_files(examples)
    assert len(files) > 75
    for name, path in files.items():
        program = program_of(path, examples, tmp_path)
        if "distributed_type" in read(path.read_text()):
            own = next(file.text for file in program.files if file.path == f"examples/{name}")
            assert own == path.read_text(), name
        else:
            assert document_of(program) == wanted(name, path), name


def test_llamafactory_takes_every_compiled_example_as_it_takes_the_original(
    examples, tmp_path, monkeypatch, with_llamafactory
):
    monkeypatch.chdir(examples)
    pairs: dict[str, tuple[dict[str, object], dict[str, object]]] = {}
    for name, path in example_files(examples).items():
        said = wanted(name, path)
        if "model_name_or_path" in said and not name.startswith("megatron/"):
            pairs[name] = (said, document_of(program_of(path, examples, tmp_path)))
    # DeepSpeed wants a distributed process; the layer-wise optimizers want one that is not.
    for distributed in (False, True):
        chosen = {name: pair for name, pair in pairs.items() if ("deepspeed" in pair[0]) is distributed}
        cases = [{"args": args, "training": "stage" in args} for pair in chosen.values() for args in pair]
        done = with_llamafactory(HERE / "real_parser.py", stdin=json.dumps(cases), distributed=distributed)
        assert done.returncode == 0, done.stderr[-2000:]
        verdicts = json.loads(done.stdout)
        assert verdicts[0::2] == verdicts[1::2]
        refused = {name: verdict for name, verdict in zip(chosen, verdicts[0::2], strict=True) if verdict}
        assert not {name: verdict for name, verdict in refused.items() if not _lacks_something_here(verdict)}


def _lacks_something_here(verdict: str) -> bool:
    """Whether the real parser only misses a package or a GPU of this machine."""
    return bool(re.search(r"PackageNotFoundError|No package metadata|requires? .* but|bf16|This device|fp8", verdict))
