"""What Hydra does itself: --cfg, --info, and sweeps; each in a process of its own, for Hydra keeps global state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import FAILS, TRAINS, Answer, interpreter, smtrain

pytestmark = pytest.mark.slow

WORDS = ("data=alpaca", "data.path=rows.jsonl", "compute=cpu")
FAILS_AT_SEED_2 = f'if grep -q "^seed: 2$" train.yaml; then\n{FAILS}fi\n{TRAINS}'


def points(answer: Answer) -> list[Any]:
    return [json.loads(line) for line in answer.out.splitlines() if line.startswith("{")]


def test_cfg_job_shows_the_configuration(here: Path) -> None:
    answer = smtrain("--cfg", "job", "strategy=zero2", "trainer.args.max_steps=4", cwd=here)
    assert answer.code == 0, answer.err
    tree = yaml.safe_load(answer.out)
    assert tree["strategy"]["kind"] == "zero2"
    assert tree["trainer"]["args"]["max_steps"] == 4
    assert "hydra" not in tree


def test_cfg_may_follow_a_verb_and_show_a_package(here: Path) -> None:
    answer = smtrain("plan", "--cfg", "job", "--package", "strategy", "strategy=zero2", cwd=here)
    assert answer.out.startswith("# @package strategy\n")
    assert yaml.safe_load(answer.out)["kind"] == "zero2"


def test_info_defaults_shows_where_the_parts_come_from(here: Path) -> None:
    answer = smtrain("--info", "defaults", "strategy=zero2", cwd=here)
    assert answer.code == 0, answer.err
    assert "| strategy/zero2" in answer.out
    assert "| trainer/lf_sft" in answer.out


def test_hydra_help_is_hydras(here: Path) -> None:
    answer = smtrain("--hydra-help", cwd=here)
    assert answer.code == 0, answer.err
    assert "--shell-completion" in answer.out


def test_a_mistake_under_a_hydra_flag_is_told_as_without_it(here: Path) -> None:
    answer = smtrain("--cfg", "job", "strategy=zerro2", cwd=here)
    assert answer.code == 2
    assert "Did you mean `zero2`?" in answer.err
    assert "Traceback" not in answer.err


def test_a_grid_runs_every_point_and_each_reports_its_objective(here: Path) -> None:
    words = (*WORDS, interpreter(here, TRAINS), "objective=loss", "seed=1,2", "trainer.args.lora_rank=4,8")
    answer = smtrain("-m", *words, "--json", cwd=here)
    assert answer.code == 0, answer.err
    found = points(answer)
    assert [point["state"] for point in found] == ["succeeded"] * 4
    assert len({point["run_id"] for point in found}) == 4
    assert [point["overrides"][-2:] for point in found] == [
        [f"seed={seed}", f"trainer.args.lora_rank={rank}"] for seed in (1, 2) for rank in (4, 8)
    ]


def test_one_failing_point_fails_the_sweep(here: Path) -> None:
    answer = smtrain("-m", *WORDS, interpreter(here, FAILS_AT_SEED_2), "seed=1,2", "--json", cwd=here)
    assert answer.code == 1
    assert [point["state"] for point in points(answer)[:2]] == ["succeeded", "failed"]
    assert "exit code 7" in answer.err
    assert "Traceback" not in answer.err


def test_a_bad_point_is_found_before_the_first_is_launched(here: Path) -> None:
    answer = smtrain("-m", *WORDS, interpreter(here, TRAINS), "trainer.args.lora_rank=4,many", cwd=here)
    assert answer.code == 2
    assert "(At trainer.args.lora_rank=many.)" in answer.err
    assert not list(here.glob("runs/smtrain-*"))


def test_an_objective_that_is_never_reported_is_an_error(here: Path) -> None:
    answer = smtrain("-m", *WORDS, interpreter(here, TRAINS), "objective=nope", "seed=1,2", cwd=here)
    assert answer.code == 1
    assert "never reported a metric called `nope`" in answer.err
    assert "Traceback" not in answer.err


def test_points_go_through_another_launcher(here: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="hydra-joblib-launcher is not installed")
    words = (*WORDS, interpreter(here, TRAINS), "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=1,2")
    answer = smtrain("-m", *words, cwd=here)
    assert answer.code == 0, answer.err
    receipts = [json.loads(path.read_text()) for path in here.glob("runs/smtrain-*/receipt.json")]
    assert [receipt["state"] for receipt in receipts] == ["succeeded"] * 2


def test_an_optimising_sweeper_is_given_the_objective(here: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="hydra-optuna-sweeper is not installed")
    words = (
        *WORDS, interpreter(here, TRAINS), "objective=loss", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2",
        "hydra.sweeper.n_jobs=1", "trainer.args.learning_rate=interval(1e-5,1e-4)",
    )  # fmt: skip
    answer = smtrain("-m", *words, cwd=here)
    assert answer.code == 0, answer.err
    (path,) = here.glob("runs/sweeps/**/optimization_results.yaml")
    assert yaml.safe_load(path.read_text())["best_value"] == 1.5
