"""The backend, and each trainer on it, pass the kit that every plugin must pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from eks_jobs import KUBEFLOW, PLACE

from smtrain.testing import check_backend, compile_overrides

pytestmark = pytest.mark.slow

NEEDS: Mapping[str, Sequence[str]] = {
    "lf_ppo": ("trainer.args.reward_model=ORG/REWARD", "trainer.ppo_capable_environment=true"),
    "lf_kto": ("micro_batch_size=2",),
    "lf_export": ("model.adapter=ORG/ADAPTER",),
}
"""What a run with a trainer cannot do without."""

TRAINERS = ("lf_api", "lf_dpo", "lf_export", "lf_kto", "lf_ppo", "lf_pt", "lf_rm", "lf_sft", "native_dpo", "native_sft")


@pytest.mark.parametrize(
    "more",
    [(), (KUBEFLOW,), ("compute.nodes=2", "strategy=ddp", "++backend.volumes.fsx={path: /fsx, claim: fsx-claim}",
                       "storage.output=/fsx/runs")],
)  # fmt: skip
def test_the_backend_conforms(more: tuple[str, ...]) -> None:
    check_backend("hyperpod_eks", overrides=(*PLACE, "compute.gpus_per_node=1", *more))


@pytest.mark.parametrize("operator", ["hyperpod", "kubeflow"])
@pytest.mark.parametrize("name", TRAINERS)
def test_every_trainer_lowers_to_a_job(name: str, operator: str) -> None:
    words = ("backend=hyperpod_eks", *PLACE, f"backend.operator={operator}", "compute.gpus_per_node=1")
    compiled = compile_overrides((*words, f"trainer={name}", *NEEDS.get(name, ())))
    assert {"job.yaml", "kustomization.yaml", "launch.sh", "steps.sh"} <= {file.path for file in compiled.bundle.files}
