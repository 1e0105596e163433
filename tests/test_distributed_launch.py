"""The launch commands, really run: two processes, an all-reduce, and hostile words that must arrive."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from strategy_jobs import make_job

from smtrain import distributed
from smtrain.spec import Concat, Job, Resume, RuntimeVar, Word

HOSTILE = (
    "a b",
    "quote\"s'",
    "$(x)",
    "`y`",
    "new\nline",
    "back\\",
    "",
    "é✓",
    "*",
    "-h",
    "--nnodes",
    "9",
    "--",
    "@x",
    "%s",
)

PROBE = """
import json, os, sys
import torch
import torch.distributed as dist
dist.init_process_group("gloo")
total = torch.tensor([dist.get_rank() + 1.0])
dist.all_reduce(total)
environment = {k: v for k, v in os.environ.items() if k.startswith(("FSDP_", "ACCELERATE_"))}
row = {"rank": dist.get_rank(), "world": dist.get_world_size(), "sum": total.item(), "argv": sys.argv[1:],
       "environment": environment}
with open(f"rank-{dist.get_rank()}.json", "w") as file:
    json.dump(row, file)
dist.destroy_process_group()
"""

FLAKY = """
import os, pathlib, sys
import torch
import torch.distributed as dist
dist.init_process_group("gloo")
first_time = pathlib.Path("failed-once")
if dist.get_rank() == 1 and not first_time.exists():
    first_time.write_text("")
    os._exit(5)
dist.all_reduce(torch.ones(1))
dist.destroy_process_group()
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def bound(words: tuple[Word, ...], job: Job, port: int, node: int = 0) -> list[str]:
    values = {
        RuntimeVar.PYTHON: sys.executable,
        RuntimeVar.NODE_RANK: str(node),
        RuntimeVar.NUM_NODES: str(job.topology.nodes),
        RuntimeVar.MASTER_ADDR: "127.0.0.1",
        RuntimeVar.MASTER_PORT: str(port),
        RuntimeVar.PROCS_PER_NODE: str(job.topology.processes_per_node),
    }

    def text(word: Word) -> str:
        if isinstance(word, Concat):
            return "".join(map(text, word.parts))
        return values[word] if isinstance(word, RuntimeVar) else str(word)

    return [text(word) for word in words]


def start(
    job: Job, where: Path, entry: tuple[Word, ...], script: str = PROBE, *, port: int = 0, node: int = 0
) -> subprocess.Popen[bytes]:
    (where / "probe.py").write_text(script)
    for file in distributed.documents(job, mixed_precision="no", hf_auto=True):
        (where / file.path).write_text(file.text)
    clean = {name: value for name, value in os.environ.items() if name not in {"RANK", "WORLD_SIZE", "LOCAL_RANK"}}
    words = bound(distributed.launch_command(job, entry), job, port or free_port(), node)
    with (where / f"log-{node}").open("wb") as log:
        return subprocess.Popen(
            words, cwd=where, env=clean | {"OMP_NUM_THREADS": "1"}, stdout=log, stderr=log, start_new_session=True
        )


def ranks(where: Path) -> list[dict[str, object]]:
    return [json.loads(path.read_text()) for path in sorted(where.glob("rank-*.json"))]


def finished(process: subprocess.Popen[bytes], where: Path) -> None:
    assert process.wait(timeout=180) == 0, "\n".join(path.read_text()[-3000:] for path in where.glob("log-*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "launcher", "first"),
    [
        ("ddp", "torchrun", "--"),
        ("ddp", "accelerate", "--"),
        ("zero2", "accelerate", "train.yaml"),
        ("ddp", "deepspeed", "--"),
        ("zero2", "deepspeed", "train.yaml"),
    ],
)
def test_two_processes_meet_and_every_word_arrives(tmp_path: Path, kind: str, launcher: str, first: str) -> None:
    pytest.importorskip(launcher if launcher != "torchrun" else "torch")
    finished(start(make_job(kind, launcher), tmp_path, ("-m", "probe", first, *HOSTILE)), tmp_path)
    rows = ranks(tmp_path)
    assert [(row["rank"], row["world"], row["sum"]) for row in rows] == [(0, 2, 3.0), (1, 2, 3.0)]
    for row in rows:
        assert row["argv"] == [first, *HOSTILE]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torchrun", "accelerate", "deepspeed"])
def test_two_nodes_meet_without_ssh(tmp_path: Path, launcher: str) -> None:
    pytest.importorskip(launcher if launcher != "torchrun" else "torch")
    job, port = make_job("zero2", launcher, nodes=2, per_node=1), free_port()
    nodes = [start(job, tmp_path, ("-m", "probe"), port=port, node=node) for node in (0, 1)]
    for node in nodes:
        finished(node, tmp_path)
    assert [(row["rank"], row["world"], row["sum"]) for row in ranks(tmp_path)] == [(0, 2, 3.0), (1, 2, 3.0)]


@pytest.mark.slow
def test_torchrun_sets_fsdp_up_as_accelerate_does(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    seen: dict[str, Mapping[str, str]] = {}
    for launcher in ("torchrun", "accelerate"):
        where = tmp_path / launcher
        where.mkdir()
        overrides = {"fsdp_config.fsdp_transformer_layer_cls_to_wrap": "LlamaDecoderLayer"}
        job = make_job("fsdp", launcher, accelerator="gpu", overrides=overrides)
        finished(start(job, where, ("probe.py",)), where)
        seen[launcher] = ranks(where)[0]["environment"]  # type: ignore[assignment]
    assert seen["torchrun"]["FSDP_TRANSFORMER_CLS_TO_WRAP"] == "LlamaDecoderLayer"
    assert seen["torchrun"].items() <= seen["accelerate"].items()


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(3))  # with the static rendezvous about half of the tries fail
def test_a_restarted_worker_group_finishes(tmp_path: Path, attempt: int) -> None:
    pytest.importorskip("torch")
    finished(start(make_job("ddp", max_restarts=1), tmp_path, ("probe.py",), FLAKY), tmp_path)
    assert (tmp_path / "failed-once").exists()


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torchrun", "accelerate", "deepspeed"])
def test_a_failed_process_fails_the_command(tmp_path: Path, launcher: str) -> None:
    pytest.importorskip(launcher if launcher != "torchrun" else "torch")
    script = "import os, sys, time\nif os.environ['RANK'] == '1': sys.exit(7)\ntime.sleep(60)"
    assert start(make_job("ddp", launcher), tmp_path, ("probe.py",), script).wait(timeout=60) != 0


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torchrun", "accelerate", "deepspeed"])
def test_sigterm_to_the_launcher_reaches_every_process(tmp_path: Path, launcher: str) -> None:
    pytest.importorskip(launcher if launcher != "torchrun" else "torch")
    script = (
        "import os, pathlib, time\n"
        "pathlib.Path('pid-' + os.environ['RANK']).write_text(str(os.getpid()))\n"
        "time.sleep(99)"
    )
    process = start(make_job("ddp", launcher), tmp_path, ("probe.py",), script)
    deadline = time.monotonic() + 60
    while len(pids := [path.read_text() for path in tmp_path.glob("pid-*")]) < 2 or not all(pids):
        assert time.monotonic() < deadline, (tmp_path / "log-0").read_text()[-3000:]
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) != 0
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_one_process_alone_needs_no_rendezvous() -> None:
    entry = ("-m", "acme", Resume("resume="))
    assert distributed.launch_command(make_job("single", per_node=1), entry) == (RuntimeVar.PYTHON, *entry)


def test_one_process_that_is_restarted_has_a_launcher() -> None:
    job = make_job("single", per_node=1, max_restarts=1)
    assert distributed.is_launched(job)
    assert "torch.distributed.run" in distributed.launch_command(job, ("t.py",))


@pytest.mark.parametrize("kind", ["ddp", "zero2", "fsdp"])
def test_one_process_of_a_distributed_strategy_gets_its_rendezvous(kind: str) -> None:
    assert "torch.distributed.run" in distributed.launch_command(make_job(kind, per_node=1), ("t.py",))


def test_processes_of_accelerate_are_counted_over_all_nodes() -> None:
    words = distributed.launch_command(make_job("ddp", "accelerate", nodes=3, per_node=4), ("t.py",))
    assert words[words.index("--num_processes") + 1] == "12"
