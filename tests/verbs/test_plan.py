from __future__ import annotations

import os
from pathlib import Path

from commands import Smtrain
from commands import smtrain as in_a_process

WORDS = ("trainer=lf_sft", "data=alpaca", "data.path=rows.jsonl", "micro_batch_size=2", "compute=cpu")


def tree(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Returns path → content and permissions of every file."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mode) for path in files}


def test_it_shows_what_would_be_launched(here: Path, smtrain: Smtrain) -> None:
    answer = smtrain("plan", *WORDS)
    assert answer.code == 0
    (run_dir,) = here.glob("runs/smtrain-*")
    for line in (
        f"run        {run_dir.name} · lf_sft on local",
        "model      HuggingFaceTB/SmolLM2-135M-Instruct (hub)",
        "train      train: 8 rows of rows.jsonl (alpaca)",
        "batch      2 samples a step = 2 a process × 1 accumulated × 1 process",
        "steps      12",
        f"bundle     runs/{run_dir.name}/bundle",
        "then       bash launch.sh",
        f"Launch it: smtrain submit runs/{run_dir.name}",
    ):
        assert f"\n{line}" in f"\n{answer.out}"
    assert "launch.sh *" in answer.out


def test_it_writes_the_bundle_and_launches_nothing(here: Path, smtrain: Smtrain) -> None:
    smtrain("plan", *WORDS)
    (run_dir,) = here.glob("runs/smtrain-*")
    assert [path.name for path in run_dir.iterdir()] == ["bundle"]


def test_json_tells_the_same(here: Path, smtrain: Smtrain) -> None:
    document = smtrain("plan", *WORDS, "--json").document
    assert document["run_id"] == f"smtrain-{document['digest']}"
    assert (document["trainer"], document["backend"], document["steps"]) == ("lf_sft", "local", 12)
    assert document["batch"] == {"global_size": 2, "micro_size": 2, "accumulation": 1, "world_size": 1}
    (train,) = document["datasets"]
    assert (train["rows"], train["role"], train["location"]) == (8, "train", "rows.jsonl")
    assert document["actions"] == [{"do": "exec", "argv": ["bash", "launch.sh"], "workload": True}]
    on_disk = {path: len(content) for path, (content, _) in tree(here / document["bundle"]).items()}
    del on_disk["manifest.json"]
    assert {file["path"]: file["size"] for file in document["files"]} == on_disk


def test_warnings_go_to_stderr_and_into_the_json(smtrain: Smtrain) -> None:
    answer = smtrain("plan", "--json")
    assert "warning: " in answer.err
    assert any("example rows" in text for text in answer.document["warnings"])


def test_runs_dir_moves_the_runs(here: Path, smtrain: Smtrain) -> None:
    document = smtrain("plan", *WORDS, "runs_dir=else/where", "--json").document
    assert (here / "else" / "where" / document["run_id"] / "bundle" / "manifest.json").is_file()
    assert not (here / "runs").exists()


def test_bundles_are_the_same_bytes_whatever_the_folder_and_the_hash_seed(here: Path) -> None:
    words = (*WORDS, f"data.path={here / 'rows.jsonl'}", "strategy=zero3", "compute.processes_per_node=2")
    trees = []
    for folder, seed in ((here / "one", "1"), (here / "two" / "deeper", "2")):
        folder.mkdir(parents=True)
        answer = in_a_process("plan", *words, cwd=folder, env={"PYTHONHASHSEED": seed})
        assert answer.code == 0, answer.err
        trees.append(tree(folder / "runs"))
    assert trees[0] == trees[1]
    assert any(path.endswith("bundle/manifest.json") for path in trees[0])
    assert not any(os.fsencode(here) in content for content, _ in trees[0].values())
