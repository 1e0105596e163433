"""Whole bundles of clusters, byte for byte: tests/hyperpod/golden/cluster-<case>/.

    python -m pytest tests/hyperpod/test_cluster_golden.py --update-golden

writes them again. Nothing else creates one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from cluster_compiling import base_configuration

from smtrain.cli import main

GOLDEN = Path(__file__).parent / "golden"
REFRESH = "python -m pytest tests/hyperpod/test_cluster_golden.py --update-golden"

OWN = (
    "cluster.name=golden",
    "cluster.region=us-west-2",
    "cluster.role=arn:aws:iam::123456789012:role/hyperpod",
)
WORKERS = "cluster.groups.workers={instance_type:ml.p5.48xlarge,count:4,usd_per_hour:60}"
STORE = "cluster.lifecycle.store=s3://sagemaker-golden/lifecycle"
VPC = ("cluster.vpc.subnets=[subnet-0123456789abcdef0]", "cluster.vpc.security_groups=[sg-0123456789abcdef0]")
LUSTRE = "cluster.fsx.lustre={dns_name:fs-0123456789abcdef0.fsx.us-west-2.amazonaws.com,mount_name:abcdefgh}"
USERS = "cluster.users={ada:{uid:2001},bob:{uid:2002,home:/data/bob}}"
MOUNTS = (
    '++cluster.mounts.sets={uri:"s3://golden-data/sets",path:/mnt/sets}',
    '++cluster.mounts.out={uri:"s3://golden-results",path:/mnt/out,writable:true}',
)
MULTI_HEAD = (
    "cluster.slurm.multi_head={database_secret_arn:'arn:aws:secretsmanager:us-west-2:123456789012:secret:db',"
    "database_endpoint:db.internal}"
)
CASES: Mapping[str, Sequence[str]] = {
    "slurm": ("cluster=slurm", *OWN, WORKERS, STORE, "cluster.lifecycle.base=base-config"),
    "slurm-everything-named": (
        "cluster=slurm", *OWN, WORKERS, STORE, "cluster.lifecycle.base=base-config", *VPC, LUSTRE, USERS, *MOUNTS,
        "cluster.lifecycle.overlay=mine", "cluster.groups.controller.count=2",
        "cluster.groups.login={kind:login,instance_type:ml.m5.xlarge,usd_per_hour:0.2}",
        MULTI_HEAD,
        "cluster.groups.workers.partition=gpu", "cluster.groups.workers.threads_per_core=1",
        "cluster.groups.workers.volume_gib=500", "cluster.groups.workers.deep_health_checks=[InstanceStress]",
        "cluster.groups.controller.usd_per_hour=2.5", "cluster.node_recovery=none", "cluster.tags={team:speech,cost:7}",
    ),
    "slurm-api": ("cluster=slurm_api", *OWN, WORKERS, STORE, *VPC, LUSTRE, USERS, *MOUNTS),
    "eks": (
        "cluster=eks", *OWN, WORKERS, *VPC,
        'cluster.eks.cluster_arn="arn:aws:eks:us-west-2:123456789012:cluster/k8s"',
        "cluster.groups.workers.labels={team:speech}", "cluster.groups.workers.spot=true",
    ),
}  # fmt: skip


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def without_versions(found: dict[str, bytes]) -> dict[str, bytes]:
    """Returns a bundle's files; its manifest without the versions, which no release may have to refresh."""
    manifest = json.loads(found["manifest.json"])
    del manifest["plugins"]
    return {**found, "manifest.json": (json.dumps(manifest, indent=2) + "\n").encode()}


@pytest.mark.parametrize("case", CASES)
def test_bundle_is_the_golden_one(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    base_configuration(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.py").write_text("class Config:\n    enable_docker_enroot_pyxis = True\n")
    monkeypatch.chdir(tmp_path)
    assert main(("cluster", "plan", *CASES[case])) == 0
    (bundle,) = (tmp_path / "clusters").glob("*/bundle")
    found, golden = without_versions(files(bundle)), GOLDEN / f"cluster-{case}"
    if request.config.getoption("--update-golden"):
        shutil.rmtree(golden, ignore_errors=True)
        for path, content in found.items():
            (golden / path).parent.mkdir(parents=True, exist_ok=True)
            (golden / path).write_bytes(content)
    assert files(golden) == found, f"look at the change, then run {REFRESH}"


def test_there_is_no_golden_of_a_case_that_is_no_more() -> None:
    assert {path.name for path in GOLDEN.iterdir() if path.name.startswith("cluster-")} == {
        f"cluster-{case}" for case in CASES
    }
