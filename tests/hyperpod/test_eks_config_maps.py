"""The files of a run reach its pods: in ConfigMaps that hold them, under keys that are allowed, at their paths."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import zipfile
from pathlib import Path

import pytest
import yaml
from eks_jobs import FSX, KUBEFLOW, compiled, errors, files, write
from hypothesis import given
from hypothesis import strategies as st
from smtrain_hyperpod.eks import archive, config_maps
from smtrain_hyperpod.eks.rehearsal import mount

from smtrain.agent_files import agent_files
from smtrain.spec import BundleFile, Upload

ROWS = [{"instruction": "Name a sea.", "input": "", "output": "The Baltic."}] * 8


@pytest.fixture
def rows(tmp_path: Path) -> str:
    path = tmp_path / "rows = of mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return f'data.path="{path}"'


@pytest.mark.needs_program("kubectl")
@pytest.mark.parametrize("operator", ["hyperpod", "kubeflow"])
def test_kubectl_makes_the_config_maps_that_the_job_mounts(operator: str, tmp_path: Path, rows: str) -> None:
    words = (f"backend.operator={operator}", "strategy=ddp", FSX, "storage.output=/fsx/runs", "data=alpaca", rows)
    bundle = write(tmp_path, *words)
    done = subprocess.run(("kubectl", "kustomize", str(bundle)), capture_output=True, text=True, check=True)
    documents = [document for document in yaml.safe_load_all(done.stdout) if document]
    (job,) = [document for document in documents if document["kind"] != "ConfigMap"]
    assert job == yaml.safe_load((bundle / "job.yaml").read_text())
    made = {document["metadata"]["name"]: document for document in documents if document["kind"] == "ConfigMap"}
    for name, keys in mount.config_maps(bundle).items():
        for key, path in keys.items():
            assert content_of(made[name], key) == (bundle / path).read_bytes()
    for source in mounted(bundle):
        for item in source["items"]:
            assert content_of(made[source["name"]], item["key"])
            assert not item["path"].startswith("/")
    assert all(size_of(document) < 1024 * 1024 for document in made.values())


def content_of(config_map: dict[str, dict[str, str]], key: str) -> bytes:
    text = config_map.get("data", {}).get(key)
    return base64.b64decode(config_map["binaryData"][key]) if text is None else text.encode()


def size_of(config_map: dict[str, dict[str, str]]) -> int:
    return sum(len(content_of(config_map, key)) for part in ("data", "binaryData") for key in config_map.get(part, {}))


def mounted(bundle: Path) -> list[dict[str, list[dict[str, str]]]]:
    volumes = mount.template(bundle)["spec"]["volumes"]  # type: ignore[index,call-overload]
    (projected,) = [volume["projected"] for volume in volumes if "projected" in volume]  # type: ignore[index,union-attr,call-overload,operator]
    return [source["configMap"] for source in projected["sources"]]  # type: ignore[index,union-attr,call-overload]


def test_rows_go_to_s3_under_their_digest_where_there_is_a_place_for_them(rows: str) -> None:
    bundle = compiled("strategy=ddp", "data=alpaca", rows).bundle
    (upload,) = [action for action in bundle.actions if isinstance(action, Upload)]
    assert re.fullmatch(r"s3://bucket/runs/store/[0-9a-f]{32}/", upload.uri)
    content = {file.path: file.content for file in bundle.files}
    agent = json.loads(content["agent.json"])  # type: ignore[arg-type]
    (item,) = [item for item in agent["inputs"] if item["name"].startswith("data")]
    assert item["uri"].startswith(upload.uri)
    assert item["file"] is True
    assert not any("inputs.zip" in path for path in content)


def test_rows_come_along_in_an_archive_where_results_are_on_a_volume(rows: str) -> None:
    words = ("strategy=ddp", FSX, "storage.output=/fsx/runs", "data=alpaca", rows)
    packed = files(*words)["inputs.zip"]
    with zipfile.ZipFile(io.BytesIO(packed)) as opened:
        (name,) = opened.namelist()
        assert name.endswith("/rows = of mine.jsonl")
        assert [json.loads(line) for line in opened.read(name).splitlines()] == ROWS
    assert "unpack inputs" in files(*words)["launch.sh"].decode()
    assert not [action for action in compiled(*words).bundle.actions if isinstance(action, Upload)]


def test_rows_that_no_config_map_should_hold_need_a_place_in_s3(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({**ROWS[0], "input": "x" * 10_000}) + "\n" for _ in range(1_300)))
    words = ("strategy=ddp", FSX, "storage.output=/fsx/runs", "data=alpaca", f'data.path="{path}"')
    (problem,) = errors(*words)
    assert problem.key == "data.path"
    assert "backend.store" in problem.fix
    assert errors(*words, "++backend.store=s3://bucket/store") == []


def test_the_agent_is_shared_by_all_runs_and_is_all_of_it() -> None:
    first, second = (files("strategy=ddp", operator) for operator in ("name=a", KUBEFLOW))
    assert first["agent.zip"] == second["agent.zip"]
    with zipfile.ZipFile(io.BytesIO(first["agent.zip"])) as opened:
        packed = {name: opened.read(name) for name in opened.namelist()}
    assert packed == {file.path.removeprefix("agent/"): file.content for file in agent_files("agent")}


def test_an_archive_does_not_depend_on_the_order_of_its_files_nor_on_the_time() -> None:
    given_files = [BundleFile(path=f"a/{name}", content=name.encode()) for name in ("x", "y", "z")]
    assert archive.archive(given_files, folder="a") == archive.archive(reversed(given_files), folder="a")


def test_an_archive_that_is_large_is_cut_and_its_pieces_are_named_in_their_order() -> None:
    packed = bytes(range(256)) * 4096 * 12
    maps = config_maps.of_archive("inputs", packed)
    assert len(maps) == 16
    keys = [entry.key for each in maps for entry in each.entries]
    assert keys == sorted(keys)  # launch.sh puts them together in this order
    assert b"".join(archive.content(entry.file) for each in maps for entry in each.entries) == packed
    assert all(archive.size(entry.file) <= config_maps.LARGEST for each in maps for entry in each.entries)
    assert len({each.name for each in maps}) == len(maps)


def test_files_that_do_not_fit_into_one_config_map_are_spread_over_several() -> None:
    maps = config_maps.of_run(BundleFile(path=f"f{number}", content=b"x" * 300_000) for number in range(5))
    assert [len(each.entries) for each in maps] == [2, 2, 1]
    assert len({each.name for each in maps}) == 3


@given(st.lists(st.text(alphabet="aA9._- /=é", min_size=1, max_size=12), unique=True, max_size=12))
def test_every_path_has_a_key_of_its_own_that_kubernetes_takes(paths: list[str]) -> None:
    keys = [config_maps.key_of(path) for path in paths]
    assert len(set(keys)) == len(keys)
    for key in keys:
        assert re.fullmatch(r"[-._a-zA-Z0-9]{1,253}", key)
        assert not key.startswith("..")
        assert key != "."
