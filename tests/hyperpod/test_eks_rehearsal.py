"""Rehearsing runs the bundle's own scripts, once a pod, with the operator's variables and a pod's files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from eks_jobs import KUBEFLOW
from plain_trainer import plain_trainer

from smtrain.cli import main

__all__ = ["plain_trainer"]

PLAIN = (
    "backend=hyperpod_eks",
    "backend.image=image:1",
    "compute.instance_type=null",
    "compute.accelerator=cpu",
    "backend.hyperpod=false",
    KUBEFLOW,
    "trainer=plain",
    "strategy=ddp",
)
ON_HYPERPOD = (
    "backend=hyperpod_eks",
    "backend.image=image:1",
    "compute.instance_type=ml.m5.4xlarge",
    "compute.accelerator=cpu",
    "trainer=plain",
    "strategy=ddp",
)
SAYS = (
    'echo "place $SMTRAIN_NODE_RANK of $SMTRAIN_NUM_NODES, first at $SMTRAIN_MASTER_ADDR,'
    ' others $(env | grep -cE "^(RANK|WORLD_SIZE|LOCAL_RANK|GROUP_RANK|MASTER_ADDR|PET_.*|TORCHELASTIC_.*)=")";'
    " echo trained >out/adapter"
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain_trainer: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rehearse(capsys: pytest.CaptureFixture[str], *words: str, script: str) -> tuple[int, str]:
    code = main(["rehearse", *words, f"trainer.script='{script.replace(chr(39), chr(92) + chr(39))}'"])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


@pytest.mark.parametrize("job", [PLAIN, ON_HYPERPOD], ids=["kubeflow", "hyperpod"])
def test_each_pod_knows_its_place_and_no_process_sees_the_operators_ranks(
    job: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    code, told = rehearse(capsys, *job, "storage.output=s3://bucket/runs", "compute.nodes=2", script=SAYS)
    assert code == 0, told
    for rank in (0, 1):
        assert f"pod-{rank}  place {rank} of 2, first at 127.0.0.1, others 0" in told
    assert "would keep output/adapter: 1 files" in told


def test_a_pod_that_fails_fails_the_rehearsal_with_its_code_and_the_pods_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    script = "[[ $SMTRAIN_NODE_RANK == 0 ]] && sleep 60; echo out of luck; exit 7"
    code, told = rehearse(capsys, *PLAIN, "storage.output=s3://bucket/runs", "compute.nodes=2", script=script)
    assert code == 1
    assert "failed with exit code 7: pod-1" in told or "pod-0: step train failed with exit code 7" in told
    assert "node 1" in told


def test_results_on_a_volume_are_kept_without_s3(capsys: pytest.CaptureFixture[str]) -> None:
    volume = "++backend.volumes.fsx={path: /fsx, claim: fsx-claim}"
    code, told = rehearse(capsys, *PLAIN, volume, "storage.output=/fsx/runs", script="echo trained >out/adapter")
    assert code == 0, told
    assert "left out: the volumes at /fsx" in told
    assert "would keep output/adapter" in told


def test_a_secret_is_this_machines_variable_and_its_absence_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIVEN", "sesame")
    script = 'test "$(printenv GIVEN | tr a-z b-za)" = tftbnf && test -z "$ABSENT" && echo trained >out/adapter'
    secrets = ("++backend.secrets.GIVEN=door/key", "++backend.secrets.ABSENT=door/other")
    code, told = rehearse(capsys, *PLAIN, "storage.output=s3://bucket/runs", *secrets, script=script)
    assert code == 0, told
    assert "left out: the secrets ABSENT" in told
    assert "sesame" not in told


def test_a_run_that_does_not_end_in_time_is_asked_to(capsys: pytest.CaptureFixture[str]) -> None:
    words = (*PLAIN, "storage.output=s3://bucket/runs", "--timeout", "2")
    code, told = rehearse(capsys, *words, script='trap "echo saving; exit 0" TERM; sleep 600 & wait')
    assert code == 1
    assert "saving" in told
    assert "--timeout" in told


def test_what_stands_in_for_an_input_is_used_and_an_unknown_one_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "weights").write_text("pretrained")
    reads = ("trainer.reads=s3://bucket/model", "storage.output=s3://bucket/runs")
    code, told = rehearse(
        capsys, *PLAIN, *reads, "--input", f"model={here / 'weights'}", script="cat model >out/adapter; cat model"
    )
    assert code == 0, told
    assert "pretrained" in told
    code, told = rehearse(capsys, *PLAIN, *reads, "--input", f"modle={here / 'weights'}", script="true")
    assert code == 2
    assert "no input `modle`" in told
    assert json.loads(next(here.glob("runs/.rehearsals/*/receipt.json")).read_text())["state"] == "succeeded"
