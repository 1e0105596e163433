"""Models and rows that are elsewhere: in S3, or on the target already."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from llamafactory_jobs import TRAINERS, job, options, rows
from smtrain_llamafactory import v1_engine
from smtrain_llamafactory.export_trainer import ExportTrainer
from smtrain_llamafactory.options import ModelOnlyOptions

from smtrain.passes.compose import Request
from smtrain.pipeline import Compiled, compile_run
from smtrain.plugin import Data, Dataset, Job, Model, ModelSource, Program, Staging
from smtrain.registry import Registry

SFT = TRAINERS["sft"]()


def lowered(*words: str) -> Program:
    """Returns the program of a run; the local backend need not be able to run it."""
    from smtrain.passes.compose import compose
    from smtrain.passes.lower import to_demands
    from smtrain.passes.resolve import resolve
    from smtrain.passes.validate import validate

    registry = Registry()
    request = Request(overrides=("model.template=llama3", *words), search_paths=registry.config_paths)
    run = validate(compose(request), registry).run
    assert run is not None
    trainer = registry.trainer(run.trainer.name)
    resolved = resolve(run, to_demands(run, trainer))
    problems = [*resolved.problems, *trainer.check(resolved.job, run.trainer.options)]
    assert [str(problem) for problem in problems if problem.is_error] == []
    return trainer.lower(resolved.job, run.trainer.options)


def compiled(*words: str) -> Compiled:
    return compile_run(Request(overrides=("model.template=llama3", *words)), Registry())


def info(program: Program) -> Mapping[str, Mapping[str, object]]:
    found = json.loads(next(file.text for file in program.files if file.path == "data/dataset_info.json"))
    assert isinstance(found, dict)
    return found


def inputs(program: Program) -> list[tuple[str, str, Staging]]:
    return [(item.path, item.uri, item.staging) for item in program.inputs]


def found(args: Mapping[str, object], of: Job | None = None, trainer: str = "sft") -> dict[str, str]:
    problems = TRAINERS[trainer]().check(of or job(rows()), options(args))
    return {problem.key: f"{problem.what} {problem.fix}" for problem in problems if problem.is_error}


# -------------------------------------------------------------------------------------------------------------- models


def test_model_and_adapter_on_the_target_are_linked_from_there() -> None:
    program = compiled("model.path=target:/fsx/models/m", "model.adapter=target:/fsx/a").program
    text = program.files[0].text
    assert "model_name_or_path: inputs/model\n" in text
    assert "adapter_name_or_path: inputs/adapter\n" in text
    assert "fsx" not in text
    assert inputs(program)[:2] == [
        ("inputs/model", "target:/fsx/models/m", Staging.IN_PLACE),
        ("inputs/adapter", "target:/fsx/a", Staging.IN_PLACE),
    ]


def test_a_relative_spelling_stands_for_what_the_target_has() -> None:
    model = Model(path="target:/fsx/saves/x/y", template="qwen3")
    made = job(rows(), model=model, source=ModelSource.TARGET)
    assert not found({"model_name_or_path": "saves/x/y"}, made)
    program = SFT.lower(made, options({"model_name_or_path": "saves/x/y"}))
    assert (program.inputs[0].path, program.inputs[0].uri) == ("saves/x/y", "target:/fsx/saves/x/y")


@pytest.mark.parametrize("uri", ["target:/fsx/m", "s3://bucket/m"])
@pytest.mark.parametrize("argument", ["reward_model", "ref_model", "media_dir", "export_quantization_dataset"])
def test_other_arguments_may_be_elsewhere(argument: str, uri: str) -> None:
    program = SFT.lower(job(rows()), options({argument: uri}))
    (item,) = [item for item in program.inputs if item.uri == uri]
    assert item.path == f"inputs/{argument.replace('_', '-')}"
    assert item.staging is (Staging.COPY if uri.startswith("s3:") else Staging.IN_PLACE)
    assert f"{argument}: {item.path}\n" in program.files[0].text


def test_a_path_of_an_argument_on_the_target_is_absolute() -> None:
    assert "no absolute path" in found({"ref_model": "target:models/m"})["trainer.args.ref_model"]
    problems = ExportTrainer().check(job(), ModelOnlyOptions(args={"export_quantization_dataset": "target:x.json"}))
    assert "trainer.args.export_quantization_dataset" in {problem.key for problem in problems}


def test_results_do_not_go_to_the_target_by_their_name() -> None:
    assert "trainer.args.output_dir" in found({"output_dir": "target:/fsx/out"})


def test_engine_v1_takes_its_data_folder_from_elsewhere() -> None:
    for path, expected in (
        ("target:/fsx/d/sets.yaml", ("target:/fsx/d", Staging.IN_PLACE)),
        ("s3://bucket/d/sets.yaml", ("s3://bucket/d/", Staging.COPY)),
    ):
        (item,) = v1_engine.train(job(data=Data(path=path)), "sft", "0.9.5", {}).inputs
        assert (item.uri, item.staging) == expected


@pytest.mark.parametrize(
    ("adapter", "staging"), [("target:/a", Staging.IN_PLACE), ("s3://b/a", Staging.COPY), ("./a", Staging.IN_PLACE)]
)
def test_engine_v1_merges_an_adapter_from_anywhere(adapter: str, staging: Staging) -> None:
    program = v1_engine.merge(job(model=Model(path="org/model", adapter=adapter)), "0.9.5", {})
    assert [(item.uri, item.staging) for item in program.inputs] == [(adapter, staging)]


# ---------------------------------------------------------------------------------------------------------------- rows


@pytest.mark.parametrize(
    ("place", "staging"), [("s3://bucket/rows", Staging.COPY), ("target:/fsx/rows", Staging.IN_PLACE)]
)
def test_rows_for_training_and_evaluation_come_from_elsewhere(place: str, staging: Staging) -> None:
    program = lowered("model.path=org/m", "data=alpaca", f"data.path={place}/a.parquet", f"data.eval_path={place}/dev/")
    assert inputs(program) == [
        ("data/train.parquet", f"{place}/a.parquet", staging),
        ("data/eval", f"{place}/dev/", staging),
    ]
    assert [entry["file_name"] for entry in info(program).values()] == ["train.parquet", "eval"]


def test_several_sets_come_from_several_places_under_names_of_their_own() -> None:
    program = lowered(
        "model.path=org/m", "data=custom", "data.format=alpaca", "data.sets.one.path=s3://b/x/rows.jsonl",
        "data.sets.two.path=s3://c/y/rows.jsonl", "data.sets.folder.path=s3://b/many",
        "data.sets.there.path=target:/fsx/rows.jsonl", "data.sets.dev.path=s3://b/dev.csv", "data.sets.dev.role=eval",
    )  # fmt: skip
    assert [item.name for item in program.inputs] == [f"data-{number}" for number in range(1, 6)]
    assert inputs(program) == [
        ("data/one.jsonl", "s3://b/x/rows.jsonl", Staging.COPY),
        ("data/two.jsonl", "s3://c/y/rows.jsonl", Staging.COPY),
        ("data/folder", "s3://b/many", Staging.COPY),
        ("data/there.jsonl", "target:/fsx/rows.jsonl", Staging.IN_PLACE),
        ("data/dev.csv", "s3://b/dev.csv", Staging.COPY),
    ]
    assert {name: entry["file_name"] for name, entry in info(program).items()} == {
        "one": "one.jsonl", "two": "two.jsonl", "folder": "folder", "there": "there.jsonl", "dev": "dev.csv",
    }  # fmt: skip


def test_rows_that_two_sets_share_are_copied_once() -> None:
    sets = [remote("s3://b/rows.jsonl", name) for name in ("a", "b")]
    program = SFT.lower(job(*sets, remote("s3://b/other.jsonl", "c")), options())
    assert [(item.name, item.path) for item in program.inputs] == [
        ("data-1", "data/a.jsonl"),
        ("data-2", "data/c.jsonl"),
    ]
    assert [entry["file_name"] for entry in info(program).values()] == ["a.jsonl", "a.jsonl", "c.jsonl"]


def test_entries_of_an_own_dataset_info_that_share_a_file_leave_the_others_their_names() -> None:
    sets = [rows(name, location=file) for name, file in (("a", "x.json"), ("b", "x.json"), ("c", "y.json"))]
    made = job(*sets, dataset_info=b"{}", data=Data(dataset_info="dataset_info.json"))
    assert [item.name for item in SFT.lower(made, options()).inputs] == ["data-1", "data-2"]


def remote(location: str, name: str = "train", **fields: object) -> Dataset:
    source = "s3" if location.startswith("s3:") else "target"
    return rows(name, source=source, location=location, files=(), **fields)


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("s3://b/rows.jsonl", "data/train.jsonl"),
        ("s3://b/rows.jsonl/", "data/train"),
        ("s3://b/v1.2", "data/train"),
        ("s3://b", "data/train"),
        ("target:/x/rows.JSONL", "data/train"),
        ("target:/x/it's a $(x).json", "data/train.json"),
    ],
)
def test_a_suffix_tells_a_file_from_a_folder_and_a_slash_overrules_it(location: str, path: str) -> None:
    program = SFT.lower(job(remote(location)), options())
    assert [item.path for item in program.inputs] == [path]
    assert f"data/{info(program)['train']['file_name']}" == path


@pytest.mark.parametrize(("role", "key"), [("train", "data.path"), ("eval", "data.eval_path")])
def test_compressed_rows_elsewhere_are_refused_before_they_are_fetched(role: str, key: str) -> None:
    assert "Unpack it" in found({}, job(rows(), remote("s3://b/rows.jsonl.gz", "x", role=role)))[key]
    assert "Unpack it" in found({}, job(remote("target:/a.zip", key="data.sets.a")))["data.sets.a.path"]
    assert not found({}, job(remote("s3://b/folder.zip/")))


def test_a_split_is_for_hub_data_sets_wherever_the_files_are() -> None:
    made = job(remote("target:/a.jsonl", key="data.sets.a", attributes={"split": "dev"}))
    assert "data.sets.a.split" in found({}, made)


@pytest.mark.parametrize("location", ["s3://b/rows.jsonl", "target:/rows.jsonl"])
def test_streamed_rows_from_elsewhere_need_a_worker_as_files_do(location: str) -> None:
    args = {"streaming": True, "max_steps": 3}
    assert "trainer.args.dataloader_num_workers" in found(args, job(remote(location)))
