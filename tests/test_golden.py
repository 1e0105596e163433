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
SLURM = ("backend=hyperpod_slurm", "backend.shared_dir=/fsx/team/smtrain", "compute=gpu")
TWO_NODES = ("compute.gpus_per_node=8", "compute.nodes=2", "strategy=zero2")
EKS = (
    "backend=hyperpod_eks",
    "backend.image=123456789012.dkr.ecr.us-east-1.amazonaws.com/train:1",
    "backend.service_account=trainer",
    "storage.output=s3://bucket/runs",
    "compute.instance_type=ml.g5.2xlarge",
)
FSX_CLAIM = "++backend.volumes.fsx={path: /fsx, claim: fsx-claim}"
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
    "lf_sft-hyperpod_eks": (*SFT, *EKS),
    "lf_dpo-hyperpod_eks": ("trainer=lf_dpo", "data=preference", "data.path=pairs.jsonl", *EKS),
    "lf_kto-hyperpod_eks": ("trainer=lf_kto", "data=kto", "data.path=judged.jsonl", "micro_batch_size=2", *EKS),
    "lf_rm-hyperpod_eks": ("trainer=lf_rm", "data=preference", "data.path=pairs.jsonl", *EKS),
    "lf_pt-hyperpod_eks": ("trainer=lf_pt", "data=text", "data.path=text.jsonl", *EKS),
    "lf_ppo-hyperpod_eks": (
        "trainer=lf_ppo", "trainer.args.reward_model=ORG/REWARD", "trainer.ppo_capable_environment=true",
        "data=alpaca", "data.path=rows.jsonl", *EKS,
    ),
    "lf_export-hyperpod_eks": ("trainer=lf_export", "model.adapter=ORG/ADAPTER", *EKS),
    "lf_api-hyperpod_eks": ("trainer=lf_api", "env.API_PORT='8000'", *EKS),
    "native_sft-hyperpod_eks": (*NATIVE_SFT, "data=alpaca", "data.path=rows.jsonl", *EKS),
    "native_dpo-hyperpod_eks": (*NATIVE_DPO, "data=preference", "data.path=pairs.jsonl", *EKS),
    "lf_sft-hyperpod_eks-two-nodes-from-s3": (
        "trainer=lf_sft", "model=custom", "model.path=s3://bucket/models/base", "model.template=llama3", "data=alpaca",
        "data.path=s3://bucket/rows/train.jsonl", "tuning=full", "strategy=zero3", "trainer.args.bf16=true", *EKS,
        "compute.instance_type=ml.p5.48xlarge", "compute.nodes=2", "++backend.region=us-east-1",
        "backend.kueue.queue=hyperpod-ns-team-localqueue", "backend.kueue.priority=training-priority",
        "backend.kueue.required_topology=topology.k8s.aws/network-node-layer-3", "++backend.spares=1",
        "backend.restarts.max=5", "++backend.restarts.before_full=3", "++backend.restarts.max_full=1",
        "++backend.log_rules.hang={pattern: 'loss', first_within_s: 1800, every_s: 600}",
        "backend.secrets.HF_TOKEN=hub/token",
    ),
    "native_dpo-hyperpod_eks-kubeflow-on-a-volume": (
        *NATIVE_DPO, "data=preference", "data.path=pairs.jsonl", "strategy=zero2", *EKS, FSX_CLAIM,
        "backend.operator=kubeflow", "storage.output=/fsx/runs", "compute.instance_type=ml.p4d.24xlarge",
        "compute.nodes=2", "model=custom", "model.path=target:/fsx/models/base",
        "backend.restarts.max=2", "backend.scratch.host_path=/opt/dlami/nvme",
    ),
    "lf_sft-hyperpod_eks-plain-kubernetes": (
        *SFT, *EKS, "backend.hyperpod=false", "backend.operator=kubeflow", "compute.instance_type=g5.2xlarge",
        "backend.namespace=team", "backend.context=cluster",
    ),
    "lf_sft-hyperpod_eks-elastic": (
        *SFT, *EKS, "compute.instance_type=ml.p4d.24xlarge", "compute.nodes=2", "strategy=ddp",
        "++backend.elastic={min_nodes: 1, max_nodes: 4, step: 1, scaling_timeout_s: 600, snooze_s: 900}",
    ),
    "lf_sft-hyperpod_eks-everything-named": (
        *SFT, *EKS, FSX_CLAIM, "name=named", "backend.pull_secrets=[registry]", "++backend.pull_policy=Always",
        "backend.python=/opt/conda/bin/python", "backend.install.index_url=https://index.example.org/simple",
        "++backend.vcpus=6", "++backend.memory_gib=24", "++backend.hugepages_mib=1024", "++backend.shm_gib=8",
        "++backend.node_selector={zone: a}", "++backend.deep_health_checked=true", "++backend.host_network=true",
        "backend.tolerations=[{key: team, value: nlp, effect: NoSchedule}]", "++backend.priority_class=high",
        "++backend.scheduler=default-scheduler", "++backend.labels={team: nlp}",
        "++backend.annotations={note: 'as shown'}", "++backend.volumes.cache={path: /cache, host_path: /mnt/cache}",
        "backend.scratch.path=/data/scratch", "backend.scratch.size_gib=200",
        "++backend.environment.GREETING='it is $HOME, y'", "++backend.secrets.HF_TOKEN=hub/token",
        "++backend.store=s3://bucket/store", "++backend.max_run_s=86400", "++backend.grace_s=30",
        "++backend.keep_pods=false", "++backend.keep_s=null", "env.WORD=\"it's\"",
    ),
    "lf_sft-hyperpod_slurm": (*SFT, *SLURM),
    "lf_dpo-hyperpod_slurm": ("trainer=lf_dpo", "data=preference", "data.path=pairs.jsonl", *SLURM),
    "lf_kto-hyperpod_slurm": ("trainer=lf_kto", "data=kto", "data.path=judged.jsonl", "micro_batch_size=2", *SLURM),
    "lf_rm-hyperpod_slurm": ("trainer=lf_rm", "data=preference", "data.path=pairs.jsonl", *SLURM),
    "lf_pt-hyperpod_slurm": ("trainer=lf_pt", "data=text", "data.path=text.jsonl", *SLURM),
    "lf_ppo-hyperpod_slurm": (
        "trainer=lf_ppo", "trainer.args.reward_model=ORG/REWARD", "trainer.ppo_capable_environment=true",
        "data=alpaca", "data.path=rows.jsonl", *SLURM,
    ),
    "lf_export-hyperpod_slurm": ("trainer=lf_export", "model.adapter=ORG/ADAPTER", *SLURM),
    "lf_api-hyperpod_slurm": ("trainer=lf_api", "env.API_PORT='8000'", *SLURM),
    "native_sft-hyperpod_slurm": (*NATIVE_SFT, "data=alpaca", "data.path=rows.jsonl", *SLURM),
    "native_dpo-hyperpod_slurm": (*NATIVE_DPO, "data=preference", "data.path=pairs.jsonl", *SLURM),
    "lf_sft-hyperpod_slurm-two-nodes-with-efa-to-s3": (
        *SFT, *SLURM, *TWO_NODES, "compute.instance_type=ml.p5.48xlarge", "model=custom",
        "model.path=s3://bucket/models/base", "model.template=llama3", "storage.output=s3://bucket/runs",
        "backend.region=us-east-1", "backend.login=hyperpod-login", "secrets.HF_TOKEN=secretsmanager:hub-token",
    ),
    "lf_sft-hyperpod_slurm-plain-with-everything-named": (
        *SFT, *SLURM, *TWO_NODES, "name=named", "backend.hyperpod=false", "backend.partition='gpu,spare'",
        "backend.account=team", "backend.qos=high", "backend.time='1-12:00:00'", "backend.exclusive=false",
        "backend.constraint='a100&nvlink'", "backend.reservation=course", "backend.cpus_per_task=32",
        "backend.mem=256G", "backend.gpu_type=a100", "backend.mail={user: me@example.org, types: [END, FAIL]}",
        '++backend.sbatch={comment: "it is \\"$HOME\\"", nice: 100, contiguous: true}',
        "++backend.dependency=afterok:12", "backend.venv=/fsx/team/env", "backend.prologue=['module load cuda']",
        "++backend.env_file='~/secrets'", "secrets.HF_TOKEN=env:MY_TOKEN", "storage.output=/fsx/results",
        "backend.install.requirements=['wandb==0.19']", "model=custom", "model.path=target:/fsx/models/base",
        "model.template=llama3", "backend.requeue.on_time_limit=false", "backend.requeue.on_failed_node=false",
        "env.WORD=\"it's\"",
    ),
    "native_dpo-hyperpod_slurm-pyxis": (
        *NATIVE_DPO, "data=preference", "data.path=pairs.jsonl", *SLURM, *TWO_NODES,
        "backend.container={image: /fsx/images/train.sqsh, mounts: ['/fsx/models:/models:ro']}",
    ),
    "native_sft-hyperpod_slurm-docker": (
        *NATIVE_SFT, "data=alpaca", "data.path=rows.jsonl", *SLURM, "secrets.HF_TOKEN=env:MY_TOKEN",
        "backend.container={image: 'ghcr.io/org/train:1', runtime: docker, options: ['--shm-size=64g']}",
    ),
    "lf_sft-hyperpod_slurm-conda": (*SFT, *SLURM, "backend.conda=train"),
    "lf_sft-hyperpod_slurm-jobs-of-steps": (
        *SFT, *SLURM, *TWO_NODES, "trainer.args.val_size=0.1", "trainer.evaluate.enabled=true",
        '++backend.steps.evaluate={partition: "a,b", nodes: 1, time: "4:00:00"}',
    ),
}  # fmt: skip

SHARED: Mapping[str, str] = {"agent/": "AGENT", "library/": "LIBRARY", "agent.zip": "AGENT", "library.zip": "LIBRARY"}
"""Folder or archive of a bundle with files that stand elsewhere in this repository, the agent's or a trainer's own
sources → what a golden has in place of its digest, which changes with every line of them."""


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
        found[path] = content
    naming_them = {path for path, content in found.items() if content != written[path]}
    found["manifest.json"] = _unversioned(found["manifest.json"], naming_them)
    return found


def _digests_of_shared_files(manifest: Mapping[str, object]) -> dict[str, str]:
    """Returns what changes with every line of the agent, or of a trainer's sources, and what a golden has instead."""
    uploads = [action for action in manifest["actions"] if action["do"] == "upload"]  # type: ignore[attr-defined]
    first = {action["uri"].rstrip("/").rpartition("/")[2]: action["files"][0][0] for action in uploads}
    found = {
        digest: name for digest, path in first.items() for folder, name in SHARED.items() if path.startswith(folder)
    }
    sums = {path: it["sha256"] for path, it in manifest["files"].items()}  # type: ignore[attr-defined]
    found |= {sums[path][:16]: name for path, name in SHARED.items() if path in sums}  # as ConfigMaps are named
    shares = any(path.startswith(tuple(SHARED)) for path in sums)
    return {**found, str(manifest["run_id"]): "RUN-ID"} if shares else {}


def files(folder: Path) -> list[tuple[str, bytes]]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(path.relative_to(folder).as_posix(), path.read_bytes()) for path in found]


def _unversioned(manifest: bytes, naming_them: set[str]) -> bytes:
    """Returns a manifest without what changes with files that stand elsewhere, as do digests of those naming them."""
    document = json.loads(manifest)
    document["plugins"] = dict.fromkeys(document["plugins"], "")
    document["files"] = {path: it for path, it in document["files"].items() if not path.startswith(tuple(SHARED))}
    for action in document["actions"]:
        if action["do"] == "upload" and action["files"][0][0].startswith("library/"):
            action["files"] = []  # a trainer's modules come and go
    for path in naming_them & document["files"].keys():
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
        text, expected = (each.decode(errors="backslashreplace") for each in (content, golden[path]))
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
    scripts = sorted(str(path) for ending in ("sh", "sbatch") for path in GOLDEN.rglob(f"*.{ending}"))
    assert len(scripts) >= len(CASES)
    done = subprocess.run(("shellcheck", *scripts), capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert done.returncode == 0
