"""What a plan says of GPU memory."""

from __future__ import annotations

import json

import pytest

from smtrain.cli import main
from smtrain.testing import compile_overrides

WORDS = ("trainer=lf_sft", "model=qwen3_8b", "compute=instance", "strategy=ddp", "trainer.args.bf16=true")


def warned(*overrides: str) -> list[str]:
    found = compile_overrides((*WORDS, *overrides)).warnings
    return [problem.what for problem in found if "GiB of each GPU" in problem.what]


@pytest.mark.parametrize(
    ("overrides", "verdict"),
    [
        (("compute.instance_type=ml.p4d.24xlarge",), "fits"),
        (("compute.instance_type=ml.g5.12xlarge", "tuning=full"), "does not fit"),
        (("compute.instance_type=ml.p4de.24xlarge", "tuning=full", "strategy=zero3"), "fits"),
    ],
)
def test_the_plan_tells_whether_it_fits(
    overrides: tuple[str, ...], verdict: str, capsys: pytest.CaptureFixture[str], tmp_path: object, monkeypatch: object
) -> None:
    monkeypatch.chdir(tmp_path)  # type: ignore[attr-defined]
    words = tuple(
        word
        for word in WORDS
        if not any(other.startswith("strategy=") for other in overrides) or "strategy" not in word
    )
    assert main(["plan", *words, *overrides, "--json"]) == 0
    memory = json.loads(capsys.readouterr().out)["memory"]
    assert memory["verdict"] == verdict


def test_what_does_not_fit_is_warned_of_with_the_arithmetic() -> None:
    assert warned("compute.instance_type=ml.g5.12xlarge", "tuning=full")
    assert warned("compute.instance_type=ml.p4d.24xlarge") == []


def test_a_model_of_unknown_shape_is_not_guessed() -> None:
    compiled = compile_overrides(
        (*WORDS, "model.path=ORG/NOBODY-KNOWS", "compute.instance_type=ml.g5.12xlarge", "tuning=full")
    )
    assert not any("GiB of each GPU" in problem.what for problem in compiled.warnings)
