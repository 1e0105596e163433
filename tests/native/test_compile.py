"""What a configuration becomes: the document of the run time, its steps, its inputs and its needs."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
from native_jobs import DPO, HUB, PAIRS, RESPONSES, SFT, compiled, program, text_of, told, write_rows
from smtrain_native import footprint, options, shortening, sources
from smtrain_native.runtime import line_format, settings

from smtrain.memory.estimate import estimate
from smtrain.memory.shapes import shape_of
from smtrain.spec import Concat, OutputKind, Resume, RuntimeVar, Saves, Scope, Staging, Step
from smtrain.testing import compile_overrides

ROOT = Path(__file__).parents[2]
TWO = ("compute=cpu", "compute.processes_per_node=2")
JOB = (
    "backend=trainingjob",
    "backend.role=arn:aws:iam::123456789012:role/training",
    "backend.region=us-east-1",
    "storage.output=s3://bucket/runs",
    "compute.instance_type=ml.g5.2xlarge",
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_rows(tmp_path / "responses.jsonl", RESPONSES)
    write_rows(tmp_path / "pairs.jsonl", PAIRS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def step(name: str, *overrides: str) -> Step:
    return next(each for each in program(*overrides).steps if each.name == name)


# --------------------------------------------------------------------------------------------------------------- steps


@pytest.mark.parametrize(
    ("overrides", "steps"),
    [
        (SFT, ["tokenize", "train"]),
        ((*SFT, "trainer.export.enabled=true"), ["tokenize", "train", "export"]),
        ((*SFT, "trainer.export.enabled=true", "trainer.tuning.kind=full"), ["tokenize", "train"]),
        (DPO, ["tokenize", "reference", "train"]),
        ((*DPO, "trainer.reference=target:/fsx/reference.arrow"), ["tokenize", "train"]),
        *(((*DPO, f"trainer.loss.kind={kind}"), ["tokenize", "train"]) for kind in ("simpo", "orpo")),
        *(
            ((*DPO, f"trainer.loss.kind={kind}"), ["tokenize", "reference", "train"])
            for kind in ("ipo", "hinge", "cdpo", "ln_dpo", "sampo")
        ),
    ],
)
def test_steps_are_those_that_the_training_needs(overrides: tuple[str, ...], steps: list[str]) -> None:
    assert [each.name for each in program(*overrides).steps] == steps


def test_rows_become_tokens_once_on_every_node() -> None:
    assert step("tokenize", *SFT) == Step(
        name="tokenize",
        argv=(RuntimeVar.PYTHON, "-m", "smtrain_native.runtime.tokenize", "native.json"),
        scope=Scope.EVERY_NODE,
    )


@pytest.mark.parametrize("launcher", ["torchrun", "accelerate", "deepspeed"])
@pytest.mark.parametrize("name", ["reference", "train"])
def test_training_and_reference_are_started_by_the_launcher_in_every_process(name: str, launcher: str) -> None:
    found = step(name, *DPO, "compute.gpus_per_node=2", "strategy=zero2", f"launcher={launcher}")
    entry = {"deepspeed": "--module"}.get(launcher, "-m")
    at = found.argv.index(f"smtrain_native.runtime.{name}")
    assert found.argv[at - 1 : at + 2] == (entry, f"smtrain_native.runtime.{name}", "native.json")
    on_cpus = step(name, *DPO, *TWO, "strategy=zero2", f"launcher={launcher}").argv
    at = on_cpus.index(f"smtrain_native.runtime.{name}")
    assert on_cpus[at - 2 : at + 2] == ("smtrain_worker.py", "-m", f"smtrain_native.runtime.{name}", "native.json")
    assert launcher in str(found.argv[2]) or launcher == "torchrun"
    assert found.distributed
    assert found.scope is Scope.EVERY_NODE
    assert (found.argv[-1] == Resume("--resume=")) == (name == "train")


def test_merging_is_for_the_first_node() -> None:
    found = step("export", *SFT, "trainer.export.enabled=true")
    assert found.argv[1:] == ("-m", "smtrain_native.runtime.export", "native.json", "merged")
    assert found.scope is Scope.FIRST_NODE


def test_outputs_hold_the_model_its_checkpoints_and_the_merged_model() -> None:
    train, merged = program(*SFT, "trainer.export.enabled=true").outputs
    assert train.path == "output"
    assert set(train.kinds) == set(OutputKind)
    assert (train.checkpoint_glob, train.checkpoint_complete) == ("checkpoint-*", "complete.json")
    assert (merged.path, merged.kinds) == ("merged", (OutputKind.MODEL,))


# ------------------------------------------------------------------------------------------------------- the document


def test_the_document_says_all_that_the_run_says() -> None:
    found = told(
        *DPO, *TWO, "strategy=ddp", "seed=7", "name=seas", "global_batch_size=64", "gradient_accumulation_steps=4",
        "model.revision=v1", "model.trust_remote_code=true", "model.adapter=ORG/ADAPTER",
        "trainer.max_tokens_per_device=5000", "trainer.reports.to=[wandb,wandb]",
    )  # fmt: skip
    assert found.kind == "preference"
    assert found.model == settings.Model(path="ORG/NAME", revision="v1", adapter="ORG/ADAPTER", trust_remote_code=True)
    assert found.batching == settings.Batching(max_tokens_per_device=5000, batch_size=64, accumulation=4)
    assert found.parallel == settings.Parallel(kind="ddp", device="cpu")
    assert found.reports == settings.Reports(to=("wandb",), name="seas")
    assert found.seed == 7
    assert found.output_dir == "output"


def test_supervised_fine_tuning_has_its_own_loss_and_no_pairs() -> None:
    found = told(*SFT)
    assert (found.kind, found.loss) == ("sft", settings.Loss(kind="sft"))
    assert not found.batching.share_prompts


@pytest.mark.parametrize(
    ("section", "of_options"),
    [
        (settings.Tuning, options.Tuning),
        (settings.Loss, options.Loss),
        (settings.Optimizer, options.Optimizer),
        (settings.Checkpoints, options.Checkpoints),
        (settings.Evaluation, options.Evaluation),
        (settings.Training, options.NativeOptions),
    ],
)
def test_every_field_of_the_document_can_be_set_under_its_own_name(section: type, of_options: type) -> None:
    assert {each.name for each in fields(section)} <= {each.name for each in fields(of_options)}


def test_what_is_set_in_the_configuration_is_what_the_run_time_reads() -> None:
    found = told(
        *DPO, "trainer.loss={kind: cdpo, beta: 0.3, label_smoothing: 0.2, sft_weight: 0.5}",
        "trainer.tuning={rank: 4, alpha: 12, dropout: 0.1, targets: [q_proj, v_proj]}",
        "trainer.optimizer={learning_rate: 2e-5, weight_decay: 0.1, beta2: 0.95, schedule: linear, min_ratio: 0.1}",
        "trainer.checkpoints={every: null, keep: 5}", "trainer.epochs=2.5", "trainer.max_steps=9",
        "trainer.precision=fp32", "trainer.identical=error", "trainer.too_long=truncate",
        "trainer.share_prompts=false",
    )  # fmt: skip
    assert found.loss == settings.Loss(kind="cdpo", beta=0.3, label_smoothing=0.2, sft_weight=0.5)
    assert found.tuning == settings.Tuning(rank=4, alpha=12, dropout=0.1, targets=("q_proj", "v_proj"))
    assert found.optimizer == settings.Optimizer(
        learning_rate=2e-5, weight_decay=0.1, beta2=0.95, schedule="linear", min_ratio=0.1, warmup=0.1
    )
    assert found.checkpoints == settings.Checkpoints(every=None, keep=5)
    assert found.training == settings.Training(epochs=2.5, max_steps=9, precision="fp32")
    assert (found.data.identical, found.data.too_long) == ("error", "truncate")
    assert not found.batching.share_prompts


# --------------------------------------------------------------------------------------------------------------- rows


def test_each_set_lies_under_its_name_with_the_suffixes_of_its_file(here: Path) -> None:
    (here / "held.jsonl.gz").write_bytes(gzip.compress((here / "responses.jsonl").read_bytes()))
    words = ("data.sets.seas.path=responses.jsonl", "data.sets.held.path=held.jsonl.gz", "data.sets.held.role=eval")
    columns = "data.columns={prompt: prompt, response: response}"
    run = ("trainer=native_sft", "model=custom", "model.path=ORG/NAME", "data=custom", columns, *words)
    found = program(*run)
    assert [(each.name, each.path, each.staging) for each in found.inputs] == [
        ("data-1", "data/seas/responses.jsonl", Staging.BUNDLED),
        ("data-2", "data/held/held.jsonl.gz", Staging.BUNDLED),
    ]
    sets = told(*run).data.sets
    assert [(each.name, each.role, each.files) for each in sets] == [
        ("seas", "train", ("data/seas/responses.jsonl",)),
        ("held", "eval", ("data/held/held.jsonl.gz",)),
    ]
    assert sets[0].columns == {"prompt": "prompt", "response": "response"}


def test_a_folder_of_files_is_named_file_by_file(here: Path) -> None:
    (here / "rows").mkdir()
    for name in ("b.jsonl", "a.jsonl"):
        write_rows(here / "rows" / name, RESPONSES[:2])
    run = (*SFT, "data.path=rows")
    (item,) = program(*run).inputs
    assert item.path == "data/train"
    assert [file.path.name for file in item.files] == ["a.jsonl", "b.jsonl"]
    assert told(*run).data.sets[0].files == ("data/train/a.jsonl", "data/train/b.jsonl")


@pytest.mark.parametrize(
    ("location", "path", "staging"),
    [
        ("s3://bucket/rows/train.jsonl.gz", "data/train/train.jsonl.gz", Staging.COPY),
        ("s3://bucket/rows/train.parquet", "data/train/train.parquet", Staging.COPY),
        ("s3://bucket/rows", "data/train", Staging.COPY),
        ("s3://bucket/rows.jsonl/", "data/train", Staging.COPY),
        ("target:/fsx/rows.pt", "data/train/rows.pt", Staging.IN_PLACE),
        ("target:/fsx/rows", "data/train", Staging.IN_PLACE),
    ],
)
def test_rows_that_are_elsewhere_are_copied_or_used_in_place(location: str, path: str, staging: Staging) -> None:
    found = compiled(*SFT, f"data.path={location}", *JOB).program
    (item,) = found.inputs
    assert (item.uri, item.path, item.staging) == (location, path, staging)
    assert json.loads(text_of(found, "native.json"))["data"]["sets"][0]["files"] == [path]


def test_rows_of_the_hub_are_named_and_not_brought() -> None:
    run = (*SFT, "data.path=hub:ORG/ROWS", "data.split=test", "data.subset=small")
    assert program(*run).inputs == ()
    (found,) = told(*run).data.sets
    assert (found.files, found.split, found.subset) == (("hub:ORG/ROWS",), "test", "small")


def test_two_sets_of_the_same_rows_are_brought_once() -> None:
    run = (
        "trainer=native_sft", "model=custom", "model.path=ORG/NAME", "data=custom",
        "data.columns={prompt: prompt, response: response}", "data.sets.a.path=responses.jsonl",
        "data.sets.b.path=responses.jsonl",
    )  # fmt: skip
    assert len(program(*run).inputs) == 1
    assert {each.files for each in told(*run).data.sets} == {("data/a/responses.jsonl",)}


@pytest.mark.parametrize("names", [("a b", "a-b"), ("../up", "..-up"), ("é", "漢")])
def test_names_that_are_no_paths_become_different_folders(names: tuple[str, str], here: Path) -> None:
    write_rows(here / "more.jsonl", RESPONSES)
    columns = {"prompt": "prompt", "response": "response"}
    sets = {name: {"path": path} for name, path in zip(names, ("responses.jsonl", "more.jsonl"), strict=True)}
    experiment = here / "conf" / "experiment" / "named.yaml"
    experiment.parent.mkdir(parents=True)
    defaults = "# @package _global_\ndefaults:\n  - override /trainer: native_sft\n  - override /data: custom\n"
    said = json.dumps({"columns": columns, "sets": sets}, ensure_ascii=False)
    experiment.write_text(f"{defaults}data: {said}\n", encoding="utf-8")
    found = compile_overrides(("experiment=named", "global_batch_size=8"), config_dir=here / "conf").program
    paths = [item.path for item in found.inputs]
    assert len(set(paths)) == 2
    assert all(re.fullmatch(r"data/[A-Za-z0-9._-]+/(responses|more)\.jsonl", path) for path in paths)
    assert [each["name"] for each in json.loads(text_of(found, "native.json"))["data"]["sets"]] == list(names)


def test_weights_are_of_their_sets_and_a_bound_draws_no_more_rows_than_there_are() -> None:
    run = (
        "trainer=native_sft", "model=custom", "model.path=ORG/NAME", "data=custom",
        "data.columns={prompt: prompt, response: response}", "data.sets.a.path=responses.jsonl",
        "data.sets.b.path=hub:ORG/ROWS", "data.sets.c.path=hub:ORG/MORE", "data.sets.c.num_samples=5",
        "trainer.weights={b: 0.5}", "trainer.max_samples=100",
    )  # fmt: skip
    found = {each.name: (each.weight, each.num_samples) for each in told(*run).data.sets}
    assert found == {"a": (1.0, None), "b": (0.5, 100), "c": (1.0, 5)}
    assert told(*SFT, "trainer.max_samples=10").data.sets[0].num_samples == 10


def test_messages_keep_their_names(here: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hello to you."}]}]
    write_rows(here / "chat.jsonl", rows * 4)
    (found,) = told("trainer=native_sft", *HUB, "data=openai", "data.path=chat.jsonl", "global_batch_size=4").data.sets
    assert found.columns == {"messages": "messages"}
    assert found.tags["assistant_tag"] == "assistant"


def test_responses_may_be_lists_and_whole_conversations(here: Path) -> None:
    write_rows(here / "listed.jsonl", [{"prompt": "Name a sea.\n", "response": ["The Baltic.", "The North Sea."]}])
    told(*SFT, "data.path=listed.jsonl")
    talk = [{"role": "user", "content": "Name a sea."}, {"role": "assistant", "content": "The Baltic."}]
    rejected = [talk[0], {"role": "assistant", "content": "No."}]
    write_rows(here / "talks.jsonl", [{"chosen": talk, "rejected": rejected}] * 40)
    told(*DPO, "data.path=talks.jsonl", "data.columns.prompt=null")


# ------------------------------------------------------------------------------------------------- model and strategy


def test_a_folder_and_s3_are_linked_where_the_document_says(here: Path) -> None:
    (here / "base").mkdir()
    (here / "base" / "config.json").write_text("{}", encoding="utf-8")
    (here / "base" / "model.safetensors").write_bytes(b"")
    run = (*SFT, "model.path=base", "model.adapter=s3://bucket/adapter")
    inputs = {
        item.name: (item.uri, item.path, item.staging)
        for item in program(*run, *JOB, "model.path=s3://bucket/base").inputs
    }
    assert inputs["model"] == ("s3://bucket/base", "inputs/model", Staging.COPY)
    assert inputs["adapter"] == ("s3://bucket/adapter", "inputs/adapter", Staging.COPY)
    (local,) = (item for item in program(*SFT, "model.path=base").inputs if item.name == "model")
    assert (local.uri, local.staging, bool(local.fingerprint)) == ("base", Staging.IN_PLACE, True)
    assert told(*SFT, "model.path=base").model.path == "inputs/model"


def test_reference_log_probabilities_of_the_user_are_an_input() -> None:
    run = (*DPO, "trainer.reference=old/reference.arrow")
    (item,) = (item for item in program(*run).inputs if item.name == "reference")
    assert (item.uri, item.path, item.staging) == ("old/reference.arrow", "inputs/reference.arrow", Staging.IN_PLACE)
    assert told(*run).reference == "inputs/reference.arrow"


@pytest.mark.parametrize(
    ("strategy", "stage"), [("zero1", 1), ("zero2", 2), ("zero2_offload", 2), ("zero3", 3), ("zero3_offload", 3)]
)
def test_deepspeed_gets_a_document_without_auto(strategy: str, stage: int) -> None:
    run = (*SFT, *TWO, f"strategy={strategy}", "trainer.optimizer.max_grad_norm=0.5")
    found = program(*run)
    document = json.loads(text_of(found, "deepspeed.json"))
    assert document["zero_optimization"]["stage"] == stage
    assert document["gradient_clipping"] == 0.5
    assert document["bf16"] == {"enabled": True}
    assert "auto" not in json.dumps(document)
    assert told(*run).parallel == settings.Parallel(kind="deepspeed", deepspeed="deepspeed.json", device="cpu")


def test_a_stage_0_document_of_the_users_is_deepspeed_too(here: Path) -> None:
    (here / "ds.json").write_text('{"zero_optimization": {"stage": 0}}', encoding="utf-8")
    run = (*SFT, *TWO, "strategy=ddp", "strategy.document=ds.json")
    assert told(*run).parallel == settings.Parallel(kind="deepspeed", deepspeed="ds.json", device="cpu")
    assert text_of(program(*run), "ds.json") == (here / "ds.json").read_text(encoding="utf-8")


# --------------------------------------------------------------------------------------------- the run time's sources


def test_the_library_is_the_run_time_whole_and_the_same_for_every_run() -> None:
    library = {file.path for file in sources.library()}
    runtime = ROOT / "plugins" / "smtrain_native" / "runtime"
    assert {f"smtrain_native/runtime/{path.relative_to(runtime).as_posix()}" for path in runtime.rglob("*.py")} == (
        library - {"smtrain_native/__init__.py"}
    )
    assert program(*SFT).library == program(*DPO, "seed=7").library == sources.library()


def test_the_library_runs_without_smtrain(tmp_path: Path) -> None:
    for file in sources.library():
        (tmp_path / "there" / file.path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "there" / file.path).write_text(file.text, encoding="utf-8")
    (tmp_path / "there" / "native.json").write_text(text_of(program(*SFT), "native.json"), encoding="utf-8")
    code = (
        "import sys; from pathlib import Path; from smtrain_native.runtime import settings; "
        "print(settings.read(Path('native.json')).kind, settings.__file__, 'smtrain' in sys.modules)"
    )
    # -S: without site-packages, where an editable smtrain would be found.
    done = subprocess.run(
        (sys.executable, "-S", "-c", code), cwd=tmp_path / "there", capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["sft", str(tmp_path / "there/smtrain_native/runtime/settings.py"), "False"]


def test_on_this_machine_the_library_lies_in_the_bundle() -> None:
    paths = {file.path for file in compiled(*SFT).bundle.files}
    assert {f"library/{file.path}" for file in sources.library()} <= paths


def test_a_sweep_uploads_the_library_once() -> None:
    uploads = []
    for seed in (1, 2):
        bundle = compiled(*SFT, *JOB, f"seed={seed}").bundle
        found = [action for action in bundle.actions if getattr(action, "files", ())]
        uploads.append({action.files[0][0].partition("/")[0]: action.uri for action in found})  # type: ignore[union-attr]
    assert uploads[0]["library"] == uploads[1]["library"]
    assert uploads[0]["agent"] == uploads[1]["agent"]
    assert set(uploads[0].values()) != set(uploads[1].values())


def test_on_a_training_job_the_library_comes_in_a_channel_of_its_own() -> None:
    bundle = compiled(*SFT, *JOB).bundle
    texts = {file.path: file.content.decode() for file in bundle.files if isinstance(file.content, bytes)}
    channels = [each["ChannelName"] for each in json.loads(texts["request.json"])["InputDataConfig"]]
    assert channels == ["program", "agent", "library", "data-1"]
    assert 'export SMTRAIN_LIBRARY="$root"/input/data/library' in texts["launch.sh"]
    assert '${SMTRAIN_LIBRARY:-$SMTRAIN_BUNDLE/library}/." .' in texts["steps.sh"]
    assert "library/smtrain_native/runtime/settings.py" in texts


# --------------------------------------------------------------------------------------------- needs, memory, metrics


def test_needs_are_those_of_the_extra() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extra = set(pyproject["project"]["optional-dependencies"]["native"])
    packages = program(*SFT, *TWO, "strategy=zero2", "data.path=hub:ORG/ROWS").needs.packages
    assert {f"{package.name}{package.specifier}" for package in packages} == extra


@pytest.mark.parametrize(
    ("more", "package"),
    [
        (("trainer.tuning.kind=full", "model.adapter=ORG/ADAPTER"), "peft"),
        ((*TWO, "strategy=ddp", "launcher=deepspeed"), "deepspeed"),
        ((*TWO, "strategy=ddp", "launcher=accelerate"), "accelerate"),
        (("data.path=hub:ORG/ROWS",), "datasets"),
        (("trainer.reports.to=[tensorboard,mlflow]",), "mlflow"),
    ],
)
def test_packages_are_needed_by_what_uses_them(more: tuple[str, ...], package: str) -> None:
    plain = {each.name for each in program(*SFT, "trainer.tuning.kind=full").needs.packages}
    assert package not in plain
    assert package in {each.name for each in program(*SFT, *more).needs.packages}


def test_gpus_are_needed_where_the_run_says_so() -> None:
    assert program(*SFT, "compute=gpu", "compute.gpus_per_node=2", "strategy=ddp").needs.gpus_per_node == 2
    assert program(*SFT).needs.gpus_per_node == 0


def test_checkpoints_are_saved_so_often_and_whenever_the_training_is_asked_to_end() -> None:
    found = [program(*SFT, f"trainer.checkpoints.every={every}").saves for every in ("30", "null")]
    key = "trainer.checkpoints.every"
    assert found == [Saves(every_steps=every, key=key, on_request=True) for every in (30, None)]


def test_the_estimate_has_a_micro_batch_of_tokens_no_logits_and_no_reference() -> None:
    found = program(*DPO, "trainer.max_tokens_per_device=4096").footprint
    assert found is not None
    shape = shape_of({}, "Qwen3-0.6B")
    assert shape is not None
    memory = estimate(shape, found, strategy="single", world_size=1, gpu_memory_gib=24)
    assert memory.logits == pytest.approx(footprint.LOSS_BYTES / 2**30)
    assert (found.micro_batch_size, found.sequence_length, found.reference_model) == (1, 4096, False)
    twice = program(*DPO, "trainer.max_tokens_per_device=8192").footprint
    assert twice is not None
    more = estimate(shape, twice, strategy="single", world_size=1, gpu_memory_gib=24)
    assert more.activations == pytest.approx(2 * memory.activations)


def test_metrics_are_read_by_the_run_times_own_patterns(here: Path) -> None:
    write_rows(here / "held.jsonl", PAIRS)
    found = program(*DPO, "data.eval_path=held.jsonl")
    assert found.progress is not None
    assert (found.progress.path, found.progress.step, found.progress.total) == (
        "output/metrics.jsonl", "step", "total_steps",
    )  # fmt: skip
    assert found.progress.metrics["eval_eval_accuracy"] == "eval/eval/accuracy"
    patterns = {each.name: each.regex for each in found.metric_patterns}
    printed = line_format.line(12, 100, {"loss": 0.6931, "learning_rate": 1e-5, "margin": 0.25})
    read = {name: match[1] for name, regex in patterns.items() if (match := re.search(regex, printed))}
    expected = {"loss": 0.6931, "learning_rate": 1e-5, "margin": 0.25}
    assert {name: float(value) for name, value in read.items()} == expected


def test_supervised_fine_tuning_reports_no_metrics_of_pairs() -> None:
    names = {each.name for each in program(*SFT).metric_patterns}
    assert "loss" in names
    assert not names & {"accuracy", "margin", "chosen_reward"}


def test_many_evaluation_sets_leave_the_trainings_own_metrics_within_what_a_platform_takes(here: Path) -> None:
    sets = ", ".join(f"test{number}: {{path: held.jsonl, role: eval}}" for number in range(30))
    write_rows(here / "held.jsonl", PAIRS)
    found = program(
        *DPO[:3], "data=custom", "data.ranking=true",
        "data.columns={prompt: prompt, chosen: chosen, rejected: rejected}",
        f"data.sets={{train: {{path: pairs.jsonl}}, {sets}}}",
    )  # fmt: skip
    assert len(found.metric_patterns) == 40
    assert {"loss", "margin", "mfu"} <= {each.name for each in found.metric_patterns}
    assert found.progress is not None
    assert "eval_test29_loss" in found.progress.metrics


# ---------------------------------------------------------------------------------------------------------- rehearsals


def test_a_rehearsal_is_short_saves_once_on_its_way_and_reports_to_nobody() -> None:
    job = compiled(*SFT, "trainer.reports.to=[wandb]", "trainer.evaluation.every=100", "data.eval_path=pairs.jsonl",
                   "data.check=none").job  # fmt: skip
    chosen = job.run.trainer.options
    assert isinstance(chosen, options.NativeOptions)
    found = dict(
        word.removeprefix("++trainer.").split("=") for word in shortening.shortened(job, chosen, steps=5, on_cpu=True)
    )
    assert found == {
        "max_steps": "5", "max_samples": "320", "log_every": "1", "reports.to": "[]", "checkpoints.every": "3",
        "evaluation.every": "3", "precision": "fp32",
    }  # fmt: skip


@pytest.mark.parametrize("of", [SFT, DPO])
def test_a_rehearsal_compiles(of: tuple[str, ...]) -> None:
    job = compiled(*of, "trainer.attention=flash").job
    chosen = job.run.trainer.options
    assert isinstance(chosen, options.NativeOptions)
    words = shortening.shortened(job, chosen, steps=2, on_cpu=True)
    short = told(*of, "trainer.attention=flash", *words, "compute.accelerator=cpu")
    assert short.training.max_steps == 2
    assert (short.training.precision, short.model.attention) == ("fp32", "auto")


def test_words_of_commands_are_free_of_the_configurations_texts() -> None:
    found = program(*SFT, 'trainer.reports.name="it is $(touch pwned)"', "trainer.reports.to=[wandb]")
    words = [word for each in found.steps for word in each.argv]
    assert all(isinstance(word, RuntimeVar | Resume | Concat) or "pwned" not in str(word) for word in words)
    assert json.loads(text_of(found, "native.json"))["reports"]["name"] == "it is $(touch pwned)"
