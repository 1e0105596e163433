"""Whole bundles, byte for byte: tests/golden/<trainer>-<backend>[-<what is special>]/.

    python -m pytest tests/test_golden.py --update-golden

writes them again, and removes those of cases that are no more. Nothing else creates one.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from smtrain.cli import main
from smtrain.registry import Registry

GOLDEN = Path(__file__).parent / "golden"
REFRESH = "python -m pytest tests/test_golden.py --update-golden"

ROWS: Mapping[str, Sequence[Mapping[str, object]]] = {
    "rows.jsonl": ({"instruction": "Name a sea.", "input": "", "output": "The Baltic."},) * 8,
    "more.jsonl": ({"question": "Which is the deepest lake?", "answer": "Baikal."},) * 4,
    "chat.jsonl": (
        {"conversations": [{"from": "human", "value": "Hello."}, {"from": "gpt", "value": "Hello to you."}]},
    ) * 4,
    "eval.jsonl": ({"instruction": "Name a river.", "input": "", "output": "The Oder."},) * 2,
    "pairs.jsonl": ({"instruction": "Name a sea.", "input": "", "chosen": "The Baltic.", "rejected": "No."},) * 4,
    "judged.jsonl": (
        {"instruction": "Name a sea.", "input": "", "output": "The Baltic.", "kto_tag": True},
        {"instruction": "Name a sea.", "input": "", "output": "No.", "kto_tag": False},
    ),
    "text.jsonl": ({"text": "The Baltic is a sea."},) * 4,
    "named.jsonl": tuple(
        {"prompt_id": f"sea-{number}", "prompt": "Name a sea.\n", "response": ["The Baltic.", "The North Sea."]}
        for number in range(4)
    ),
    "named_pairs.jsonl": tuple(
        {"prompt_id": f"sea-{number}", "prompt": "Name a sea.\n", "chosen": "The Baltic.", "rejected": "No."}
        for number in range(4)
    ),
}  # fmt: skip

OWN_DEEPSPEED = {
    "zero_optimization": {"stage": 2, "overlap_comm": True, "reduce_bucket_size": 5e8},
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "bf16": {"enabled": "auto"},
}

SFT = ("trainer=lf_sft", "data=alpaca", "data.path=rows.jsonl")
NATIVE_SFT = ("trainer=native_sft",)
NATIVE_DPO = ("trainer=native_dpo",)
TWO = ("compute=gpu", "compute.gpus_per_node=2")
ROLE = "arn:aws:iam::123456789012:role/training"
JOB = (
    "backend=trainingjob",
    f"backend.role={ROLE}",
    "backend.region=us-east-1",
    "storage.output=s3://bucket/runs",
    "compute.instance_type=ml.g5.2xlarge",
)
VPC = ("backend.subnets=[subnet-0123456789abcdef0]", "backend.security_groups=[sg-0123456789abcdef0]")
CASES: Mapping[str, Sequence[str]] = {
    "lf_sft-local": SFT,
    "lf_dpo-local": ("trainer=lf_dpo", "data=preference", "data.path=pairs.jsonl"),
    "lf_kto-local": ("trainer=lf_kto", "data=kto", "data.path=judged.jsonl", "micro_batch_size=2"),
    "lf_rm-local": ("trainer=lf_rm", "data=preference", "data.path=pairs.jsonl"),
    "lf_pt-local": ("trainer=lf_pt", "data=text", "data.path=text.jsonl"),
    "lf_ppo-local": (
        "trainer=lf_ppo", "trainer.args.reward_model=ORG/REWARD", "trainer.ppo_capable_environment=true",
        "data=alpaca", "data.path=rows.jsonl",
    ),
    "lf_export-local": ("trainer=lf_export", "model.adapter=ORG/ADAPTER"),
    "lf_api-local": ("trainer=lf_api", "env.API_PORT='8000'"),
    "lf_sft-local-cpu": (*SFT, "compute=cpu", "strategy=ddp", "compute.processes_per_node=2"),
    "lf_sft-local-qlora": (*SFT, "tuning=qlora", "compute=gpu"),
    "lf_sft-local-zero3-accelerate": (
        *SFT, *TWO, "tuning=full", "strategy=zero3", "launcher=accelerate", "global_batch_size=8",
        "trainer.args.bf16=true",
    ),
    "lf_sft-local-zero2-deepspeed": (*SFT, *TWO, "strategy=zero2_offload", "launcher=deepspeed"),
    "lf_sft-local-fsdp-torchrun": (*SFT, *TWO, "strategy=fsdp", "trainer.args.bf16=true"),
    "lf_sft-local-own-deepspeed": (*SFT, *TWO, "strategy=zero2", "strategy.document=ds.json"),
    "lf_sft-local-export-predict": (
        *SFT, "data.eval_path=eval.jsonl", "trainer.export.enabled=true", "trainer.predict.enabled=true",
        "trainer.args.per_device_eval_batch_size=2",
    ),
    "lf_sft-local-several-data-sets": (
        "trainer=lf_sft", "data=custom", "data.sets.seas.path=rows.jsonl", "data.sets.lakes.path=more.jsonl",
        "data.sets.lakes.columns={prompt: question, query: null, response: answer}", "data.sets.lakes.num_samples=2",
        "data.sets.chats.path=chat.jsonl", "data.sets.chats.format=sharegpt", "data.sets.hub.path=hub:ORG/ROWS",
        "data.sets.rivers.path=eval.jsonl", "data.sets.rivers.role=eval",
    ),
    "lf_sft-local-everything-named": (
        *SFT, "name=named", "model=custom", "model.path=ORG/NAME", "model.template=llama3", "model.revision=main",
        'env.GREETING="it is $HOME"', "secrets.HF_TOKEN=env:MY_TOKEN", "storage.output=/fsx/results", "seed=7",
        "backend.python=env/bin/python", "backend.gpus=[2,3]", "backend.grace_s=5", "compute=gpu",
    ),
    "native_sft-local": (*NATIVE_SFT, "data=alpaca", "data.path=rows.jsonl"),
    "native_dpo-local": (*NATIVE_DPO, "data=preference", "data.path=pairs.jsonl"),
    "native_sft-local-everything-named": (
        *NATIVE_SFT, "name=named", "model=custom", "model.path=ORG/NAME", "model.revision=main",
        "model.adapter=ORG/ADAPTER",
        "data=custom", "data.sets.seas.path=named.jsonl", "data.sets.seas.columns={prompt: prompt, response: response}",
        "data.sets.chats.path=chat.jsonl", "data.sets.chats.format=sharegpt", "data.sets.chats.num_samples=2",
        "data.sets.hub.path=hub:ORG/ROWS", "data.sets.hub.split=train", "data.sets.rivers.path=eval.jsonl",
        "data.sets.rivers.role=eval", "trainer.weights={seas: 0.5, hub: 2}", "trainer.max_samples=1000",
        "trainer.prompt_type=completion", "trainer.append_eos=false", "trainer.too_long=truncate",
        "trainer.duplicates=error", "trainer.workers=3", 'trainer.cache_dir="~/tokens"', "trainer.attention=segments",
        "trainer.gradient_checkpointing=true", "trainer.non_finite=skip", "trainer.log_every=5",
        "trainer.max_steps=100", "trainer.checkpoints.every=50", "trainer.evaluation={every: 20, sets: [rivers]}",
        "trainer.reports={to: [tensorboard], project: seas}", "trainer.export.enabled=true", "seed=7",
        "trainer.optimizer.schedule=inverse_sqrt", "trainer.optimizer.max_grad_norm=null", "strategy=ddp", *TWO,
        "global_batch_size=16", "gradient_accumulation_steps=4",
    ),
    "native_dpo-local-zero3-accelerate": (
        *NATIVE_DPO, "data=prompt_preference", "data.path=named_pairs.jsonl", *TWO, "strategy=zero3",
        "launcher=accelerate", "trainer.tuning.kind=full", "trainer.optimizer.learning_rate=5e-7",
        "trainer.precision=fp32",
    ),
    "native_dpo-local-simpo-zero2-deepspeed": (
        *NATIVE_DPO, "data=prompt_preference", "data.path=named_pairs.jsonl", *TWO, "strategy=zero2_offload",
        "launcher=deepspeed", "trainer.loss={kind: simpo, beta: 2.5, gamma: 0.55}",
    ),
    "lf_sft-trainingjob": (*SFT, *JOB),
    "native_sft-trainingjob": (*NATIVE_SFT, "data=alpaca", "data.path=rows.jsonl", *JOB),
    "native_dpo-trainingjob": (*NATIVE_DPO, "data=preference", "data.path=pairs.jsonl", *JOB),
    "native_dpo-trainingjob-two-hosts-from-s3": (
        *NATIVE_DPO, "model=custom", "model.path=s3://bucket/models/base", "data=prompt_preference",
        "data.path=s3://bucket/rows/pairs.jsonl.gz", "data.eval_path=target:/opt/ml/input/data/held/out.parquet",
        "trainer.reference=s3://bucket/reference/base.arrow", "strategy=zero3", "trainer.tuning.kind=full", *JOB,
        "compute.instance_type=ml.p4d.24xlarge", "compute.nodes=2", "backend.spot=true",
        "++backend.channels.held={uri: s3://bucket/held/}",
    ),
    "lf_dpo-trainingjob": ("trainer=lf_dpo", "data=preference", "data.path=pairs.jsonl", *JOB),
    "lf_kto-trainingjob": ("trainer=lf_kto", "data=kto", "data.path=judged.jsonl", "micro_batch_size=2", *JOB),
    "lf_rm-trainingjob": ("trainer=lf_rm", "data=preference", "data.path=pairs.jsonl", *JOB),
    "lf_pt-trainingjob": ("trainer=lf_pt", "data=text", "data.path=text.jsonl", *JOB),
    "lf_ppo-trainingjob": (
        "trainer=lf_ppo", "trainer.args.reward_model=ORG/REWARD", "trainer.ppo_capable_environment=true",
        "data=alpaca", "data.path=rows.jsonl", *JOB,
    ),
    "lf_export-trainingjob": ("trainer=lf_export", "model.adapter=ORG/ADAPTER", *JOB),
    "lf_api-trainingjob": ("trainer=lf_api", "env.API_PORT='8000'", *JOB),
    "lf_sft-trainingjob-two-hosts-from-s3": (
        "trainer=lf_sft", "model=custom", "model.path=s3://bucket/models/base", "model.template=llama3", "data=alpaca",
        "data.path=s3://bucket/rows/train.jsonl", "tuning=full", "strategy=zero3", "trainer.args.bf16=true", *JOB,
        "compute.instance_type=ml.p4d.24xlarge", "compute.nodes=2", "backend.spot=true", "backend.retries=2",
        "++secrets.HF_TOKEN=secretsmanager:hub-token",
    ),
    "lf_sft-trainingjob-file-system-and-channels": (
        "trainer=lf_sft", "model=custom", "model.path=target:/opt/ml/input/data/fsx/models/base",
        "model.template=llama3", "data=alpaca", "data.path=rows.jsonl", *JOB, *VPC,
        "++backend.file_systems.fsx={id: fs-0123456789abcdef0, path: /abcdefgh, access: ro}",
        "++backend.channels.images={uri: s3://bucket/images/, mode: FastFile, distribution: ShardedByS3Key}",
    ),
    "lf_sft-trainingjob-isolated": (
        "trainer=lf_sft", "model=custom", "model.path=s3://bucket/models/base", "model.template=llama3", "data=alpaca",
        "data.path=rows.jsonl", *JOB, *VPC, "backend.network_isolation=true", "backend.encrypt_traffic=true",
        "++backend.checkpoints.uri=s3://bucket/checkpoints",
        "backend.image=123456789012.dkr.ecr.us-east-1.amazonaws.com/mine:1", "backend.install.mode=never",
        "backend.model_dir=true", "++backend.kms.output=alias/key",
    ),
    "lf_sft-trainingjob-everything-named": (
        *SFT, *JOB, "name=named", "backend.image=123456789012.dkr.ecr.us-east-1.amazonaws.com/mine:1",
        "backend.keep_alive_s=1800", "backend.max_run_s=3600", "compute.instance_type=ml.m5.4xlarge",
        "compute.accelerator=cpu", "trainer.args.bf16=false", "backend.volume_gib=300",
        "++backend.kms.volume=alias/key",
        "++backend.metrics.speed='speed=([0-9.]+)'", "++backend.environment.GREETING='it is $HOME'",
        "++backend.hyperparameters.note='as shown'", "++backend.tags={team: search, cost-center: 12}",
        "++backend.experiment={experiment: exp, trial: trial, run: run}", "++backend.remote_debug=true",
        "++backend.profiler=true", "env.WORD=\"it's\"", "backend.install.requirements=['wandb==0.19']",
    ),
    "lf_sft-trainingjob-toolkit-v2": (*SFT, *JOB, "backend.entry=toolkit", "++backend.sdk=v2"),
    "lf_sft-trainingjob-groups": (
        *SFT, *JOB, "compute.instance_type=null", "compute.nodes=3", "compute.gpus_per_node=1", "strategy=ddp",
        "++backend.instance_groups.a={instance_type: ml.g5.2xlarge, count: 1}",
        "++backend.instance_groups.b={instance_type: ml.g5.4xlarge, count: 2}",
    ),
}  # fmt: skip

SHARED: Mapping[str, str] = {"agent/": "AGENT", "library/": "LIBRARY"}
"""Folder of a bundle with files that stand elsewhere in this repository, the agent's or a trainer's own sources → what
a golden has in place of its digest, which changes with every line of them."""

NAMING_THEM = {"request.json", "estimator.py"}
"""Files whose digest changes with them, too."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with rows of every kind."""
    for name, rows in ROWS.items():
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "ds.json").write_text(json.dumps(OWN_DEEPSPEED, indent=2) + "\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def planned(here: Path, *words: str) -> dict[str, bytes]:
    """Returns what `smtrain plan` writes: path → content, of the manifest all but the versions of plugins."""
    assert main(["plan", *words]) == 0
    (bundle,) = here.glob("runs/*/bundle")
    written = dict(files(bundle))
    digests = _digests_of_shared_files(json.loads(written["manifest.json"]))
    found = {}
    for path, content in written.items():
        if path.startswith(tuple(SHARED)):
            continue
        for digest, name in digests.items():
            content = content.replace(digest.encode(), name.encode())  # noqa: PLW2901
        found[path] = _unversioned(content) if path == "manifest.json" else content
    return found


def _digests_of_shared_files(manifest: Mapping[str, object]) -> dict[str, str]:
    """Returns what changes with every line of the agent, or of a trainer's sources, and what a golden has instead."""
    uploads = [action for action in manifest["actions"] if action["do"] == "upload"]  # type: ignore[attr-defined]
    first = {action["uri"].rstrip("/").rpartition("/")[2]: action["files"][0][0] for action in uploads}
    found = {
        digest: name for digest, path in first.items() for folder, name in SHARED.items() if path.startswith(folder)
    }
    shares = any(path.startswith(tuple(SHARED)) for path in manifest["files"])  # type: ignore[attr-defined]
    return {**found, str(manifest["run_id"]): "RUN-ID"} if shares else {}


def files(folder: Path) -> list[tuple[str, bytes]]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(path.relative_to(folder).as_posix(), path.read_bytes()) for path in found]


def _unversioned(manifest: bytes) -> bytes:
    document = json.loads(manifest)
    document["plugins"] = dict.fromkeys(document["plugins"], "")
    document["files"] = {path: it for path, it in document["files"].items() if not path.startswith(tuple(SHARED))}
    for action in document["actions"]:
        if action["do"] == "upload" and action["files"][0][0].startswith("library/"):
            action["files"] = []  # a trainer's modules come and go
    for path in NAMING_THEM & document["files"].keys():
        document["files"][path]["sha256"] = ""
    return json.dumps(document, indent=2).encode() + b"\n"


@pytest.mark.parametrize("case", CASES)
def test_a_bundle_is_the_golden_one(case: str, here: Path, pytestconfig: pytest.Config) -> None:
    found = planned(here, *CASES[case])
    folder = GOLDEN / case
    if pytestconfig.getoption("--update-golden"):
        shutil.rmtree(folder, ignore_errors=True)
        for path, content in found.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
    if not folder.is_dir():
        pytest.fail(f"There is no tests/golden/{case}. If the bundle is right, write it: {REFRESH}")
    golden = dict(files(folder))
    assert sorted(found) == sorted(golden), f"other files than in tests/golden/{case}; if they are right: {REFRESH}"
    for path, content in found.items():
        text, expected = content.decode(), golden[path].decode()
        assert text == expected, f"{path} is not tests/golden/{case}/{path}; if it is right: {REFRESH}"


def test_every_golden_has_a_case(pytestconfig: pytest.Config) -> None:
    if pytestconfig.getoption("--update-golden"):
        for path in GOLDEN.iterdir():
            if path.name not in CASES:
                shutil.rmtree(path)
    assert {path.name for path in GOLDEN.iterdir()} - set(CASES) == set(), f"no case makes these; remove: {REFRESH}"


def test_every_trainer_has_a_golden_on_every_backend_of_ours() -> None:
    registry = Registry()
    ours = [
        {name for name, spec in specs.items() if registry.source_of(spec).name == "smtrain"}
        for specs in (registry.trainers, registry.backends)
    ]
    pairs = {f"{trainer}-{backend}" for trainer in ours[0] for backend in ours[1]}
    assert pairs <= set(CASES)


@pytest.mark.needs_program("shellcheck")
def test_generated_scripts_are_clean_under_shellcheck() -> None:
    scripts = sorted(map(str, GOLDEN.rglob("*.sh")))
    assert len(scripts) >= len(CASES)
    done = subprocess.run(("shellcheck", *scripts), capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert done.returncode == 0
