"""A sweep of training jobs: what its points share goes up once, and a sweeper hears what they came to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import Smtrain
from plain_jobs import TRAINS, script
from s3_wire import wire_to

pytest_plugins = ("plain_account", "plain_trainer")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plain_trainer")]

LARGE = 300_000


@pytest.fixture
def code(smtrain: Smtrain) -> str:
    """The override that takes a folder of code along."""
    folder = Path("code")
    folder.mkdir()
    for number in range(3):
        (folder / f"part_{number}.py").write_text(f"PART = {number}\n" + "#" * LARGE)
    return "backend.source_dir=code"


def test_what_the_points_share_is_sent_once(sagemaker, words, smtrain, monkeypatch, code) -> None:
    with wire_to(sagemaker.url) as wire:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", wire.endpoint)
        one = smtrain("run", *words, code, script(TRAINS), "env.POINT=0", "--detach", "--json")
        assert one.code == 0, one.out + one.err
        alone = wire.sent
        assert alone > 3 * LARGE
        wire.clear()
        # Other code, so that nothing is there yet.
        Path("code", "part_0.py").write_text("PART = 10\n" + "#" * LARGE)
        sweep = smtrain("-m", *words, code, script(TRAINS), "env.POINT=1,2,3", "--json")
        assert sweep.code == 0, sweep.out + sweep.err
        points = [json.loads(line) for line in sweep.out.splitlines()]
        parts = [key for key in wire.puts() if "part_" in key]
        assert [key.rpartition("/")[2] for key in parts] == ["part_0.py", "part_1.py", "part_2.py"]
        own = sorted(key.rpartition("/")[2] for key in wire.puts() if key not in parts)
        assert own == sorted(3 * ("agent.json", "launch.sh", "steps.sh"))
        assert wire.sent < alone + 3 * 20_000
        # Sent once more, nothing goes over the wire.
        for run_dir in Path("runs").glob("smtrain-*"):
            (run_dir / "receipt.json").unlink()
        wire.clear()
        again = smtrain("-m", *words, code, script(TRAINS), "env.POINT=1,2,3", "--json")
        assert (again.code, wire.sent) == (0, 0)
    jobs = {str(point["run_id"]) for point in points}
    assert len(jobs) == 3
    for job in (*jobs, one.document["run_id"]):
        assert sagemaker.wait(job)["TrainingJobStatus"] == "Completed"
    assert {str(json.loads(line)["job"]) for line in again.out.splitlines()} == jobs
    assert len([name for name in sagemaker.jobs if name in jobs or name.rpartition("-t")[0] in jobs]) == 3


@pytest.mark.filterwarnings("ignore:The ``declarative_base")  # inside optuna
def test_an_optimising_sweeper_gets_the_metric_of_a_job(sagemaker, words, smtrain) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="hydra-optuna-sweeper is not installed")
    text = 'echo "{\\"step\\": 1, \\"total\\": 1, \\"loss\\": $POINT.25}" >>out/log.jsonl'
    answer = smtrain(
        *("-m", *words, "--yes", script(text), "objective=loss", "env.POINT=choice(7)"),
        *("hydra/sweeper=optuna", "hydra/sweeper/sampler=grid", "hydra.sweeper.n_trials=1", "hydra.sweeper.n_jobs=1"),
    )
    assert answer.code == 0, answer.out + answer.err
    (results,) = Path("runs", "sweeps").rglob("optimization_results.yaml")
    assert "best_value: 7.25" in results.read_text()
