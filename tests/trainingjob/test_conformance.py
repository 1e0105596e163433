"""The backend, and each trainer on it, pass the kit that every plugin must pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from compiling import JOB

from smtrain.pipeline import Compiled
from smtrain.registry import Registry
from smtrain.testing import check_backend, check_trainer, compile_overrides

pytestmark = pytest.mark.slow

PLACE = tuple(word for word in JOB if word.startswith(("backend", "storage.", "compute.")))
NEEDS: Mapping[str, Sequence[str]] = {
    "lf_ppo": ("trainer.args.reward_model=ORG/REWARD", "trainer.ppo_capable_environment=true"),
    "lf_kto": ("micro_batch_size=2",),
    "lf_export": ("model.adapter=ORG/ADAPTER",),
}
"""What a run with a trainer cannot do without."""

TRAINERS = ("lf_api", "lf_dpo", "lf_export", "lf_kto", "lf_ppo", "lf_pt", "lf_rm", "lf_sft", "native_dpo", "native_sft")


def test_the_backend_conforms() -> None:
    check_backend("trainingjob", overrides=PLACE[1:])


@pytest.mark.parametrize("more", [("backend.sdk=v2", "backend.entry=toolkit"), ("compute.nodes=2", "strategy=ddp")])
def test_the_backend_conforms_with_other_options(more: tuple[str, ...]) -> None:
    check_backend("trainingjob", overrides=(*PLACE[1:], *(f"++{word}" if "." in word else word for word in more)))


@pytest.mark.parametrize("name", TRAINERS)
def test_a_trainer_conforms_with_the_backend_in_the_registry(name: str) -> None:
    assert "trainingjob" in Registry().backends
    check_trainer(name, overrides=NEEDS.get(name, ()))


@pytest.mark.parametrize("name", TRAINERS)
def test_every_trainer_lowers_to_a_training_job(name: str) -> None:
    compiled: Compiled = compile_overrides((*PLACE, f"trainer={name}", *NEEDS.get(name, ())))
    assert {"request.json", "estimator.py", "launch.sh", "steps.sh"} <= {file.path for file in compiled.bundle.files}
