"""The plugins that come along pass the kit that every plugin must pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from smtrain.registry import Registry
from smtrain.testing import check_backend, check_trainer

pytestmark = pytest.mark.slow

NEEDS: Mapping[str, Sequence[str]] = {
    "lf_ppo": ("trainer.args.reward_model=ORG/REWARD", "trainer.ppo_capable_environment=true"),
    "lf_kto": ("micro_batch_size=2",),
    "lf_export": ("model.adapter=ORG/ADAPTER",),
}
"""What a run with a trainer cannot do without."""

TRAINERS = ("lf_api", "lf_dpo", "lf_export", "lf_kto", "lf_ppo", "lf_pt", "lf_rm", "lf_sft", "native_dpo", "native_sft")


def test_all_of_ours_are_checked() -> None:
    registry = Registry()
    assert {name for name, spec in registry.trainers.items() if registry.source_of(spec).name == "smtrain"} == {
        *TRAINERS
    }


@pytest.mark.parametrize("name", TRAINERS)
def test_a_trainer_conforms(name: str) -> None:
    check_trainer(name, overrides=NEEDS.get(name, ()))


def test_the_local_backend_conforms() -> None:
    check_backend("local")
