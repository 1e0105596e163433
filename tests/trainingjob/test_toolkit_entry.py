"""`entry=toolkit`: compiled bundles, and scripts in launch.sh's place, under the `train` command of AWS's own toolkit.

How the toolkit itself behaves is in test_training_toolkit; here is what launch.sh must live with.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sdk_environment
from plain_jobs import BUCKET, TRAINS, TWO, created, job_environment, script, stored
from smtrain_trainingjob.rehearsal import namespaces
from smtrain_trainingjob.rehearsal.engine import JobRun
from smtrain_trainingjob.rehearsal.outcome import Outcome, Status
from trainingjob.sample_requests import toolkit

if TYPE_CHECKING:
    from sagemaker_service import SageMakerService

pytest_plugins = ("plain_account", "plain_trainer")
pytestmark = [pytest.mark.sdk("toolkit"), pytest.mark.slow]

SHOW = """\
#!/usr/bin/env bash
printf '%s\\n' "$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)" "$PWD" "$*" "$SMTRAIN_OUTPUT_URI"
find . -type f | sort
"""
FAIL = """\
#!/usr/bin/env bash
mkdir -p /opt/ml/output
echo 'the reason' >/opt/ml/output/failure
exit 7
"""
TRAPPED = """\
#!/usr/bin/env bash
trap 'echo asked to end; exit 0' TERM
echo begun
for _ in {1..600}; do sleep 0.1; done
"""


@pytest.fixture
def execute(tmp_path: Path) -> Callable[..., tuple[Outcome, list[str]]]:
    """Runs a launch.sh under `train`; returns the outcome and what launch.sh itself said."""
    isolation = namespaces.find()
    if isolation is None:
        pytest.skip("this user may make no namespaces on this machine, and launch.sh must be at /opt/ml")
    programs = sdk_environment.python("toolkit").parent

    def fill(_: object, folder: Path) -> None:
        (folder / "launch.sh").write_text(tmp_path.joinpath("launch.sh").read_text(encoding="utf-8"), encoding="utf-8")
        (folder / "program").mkdir()
        (folder / "program/train.yaml").write_text("stage: sft\n", encoding="utf-8")

    def run(launch: str, *, stop_at: str = "", **hyperparameters: str) -> tuple[Outcome, list[str]]:
        (tmp_path / "launch.sh").write_text(launch, encoding="utf-8")
        request = toolkit()
        request["InputDataConfig"] = request["InputDataConfig"][:1]
        request["HyperParameters"] |= hyperparameters
        said: list[str] = []

        def note(_: str, line: str) -> None:
            said.append(line)
            if stop_at and line == stop_at:
                threading.Thread(target=job.stop).start()

        job = JobRun(
            request=request,
            workspace=tmp_path / "job",
            channels=fill,
            environment={"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(tmp_path)},
            isolation=isolation,
            on_line=note,
            grace_s=2,
        )
        return job.run(), said

    return run


def test_launch_sh_runs_in_a_copy_of_the_program_folder_with_the_hyperparameters_as_arguments(execute) -> None:
    outcome, said = execute(SHOW, epochs="3", note="two words")
    assert outcome.status is Status.COMPLETED, said
    begin = said.index("/opt/ml/code")
    assert said[begin : begin + 6] == [
        "/opt/ml/code",
        "/opt/ml/code",
        "--epochs 3 --note two words",
        toolkit()["Environment"]["SMTRAIN_OUTPUT_URI"],
        "./launch.sh",
        "./program/train.yaml",
    ]


def test_the_failure_file_of_launch_sh_stays_though_its_exit_code_does_not(execute) -> None:
    outcome, _ = execute(FAIL)
    assert outcome.status is Status.FAILED
    assert outcome.failure_reason == "AlgorithmError: the reason\n, exit code: 1"


def test_sigterm_never_reaches_launch_sh(execute) -> None:
    # What the warning about entry=toolkit with spot says: `train` neither handles the signal nor passes it on.
    outcome, said = execute(TRAPPED, stop_at="begun")
    assert outcome.status is Status.STOPPED
    assert outcome.exit_codes == {"algo-1": 137}
    assert "asked to end" not in said


@pytest.fixture(scope="module")
def sagemaker_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SageMakerService]:
    """SageMaker, with an image that has the toolkit."""
    pytest.importorskip("moto.server", reason="moto[server] is not installed")
    from sagemaker_service import SageMakerService

    image = (sdk_environment.python("toolkit").parent, Path(sys.executable).parent, *map(Path, os.defpath.split(":")))
    environment = {**job_environment(), "PATH": os.pathsep.join(map(str, image))}
    folder = tmp_path_factory.mktemp("sagemaker")
    with SageMakerService(folder, grace_s=15, job_environment=environment) as up:
        up.client("s3").create_bucket(Bucket=BUCKET)
        yield up


@pytest.mark.usefixtures("plain_trainer")
class TestCompiled:
    @pytest.fixture
    def words(self, words) -> tuple[str, ...]:
        return (*words, "backend.entry=toolkit")

    def test_two_hosts_train_and_keep_what_they_made(self, sagemaker, words, smtrain) -> None:
        sagemaker.client("s3").put_object(Bucket=BUCKET, Key="models/tiny/config.json", Body=b"tiny")
        more = ("trainer.reads=s3://bucket/models/tiny", "backend.hyperparameters={note: two words, epochs: 3}")
        text = f'echo "read $(cat $SMTRAIN_INPUT_MODEL/config.json), path=[$PYTHONPATH]"; {TRAINS}'
        answer = smtrain("run", *words, *TWO, *more, script(text), "--detach", "--json")
        assert answer.code == 0, answer.out + answer.err
        run_id = answer.document["run_id"]
        job = sagemaker.wait(run_id)
        log = sagemaker.log(run_id)
        assert job["TrainingJobStatus"] == "Completed", log
        (request,) = created(sagemaker, run_id)
        assert "ContainerEntrypoint" not in request["AlgorithmSpecification"]
        for rank, host in enumerate(("algo-1", "algo-2")):
            said = "\n".join(log[host])
            assert f"training on {rank} of 2" in said
            assert "read tiny, path=[]" in said  # the toolkit's own path is not the trainer's
            assert "Invoking user script" in said  # the toolkit's own words
        kept = stored(sagemaker, f"runs/{run_id}/")
        assert kept["output/adapter/adapter.txt"] == b"weights of 0\n"
        assert {"progress.jsonl", "checkpoints/adapter/checkpoint-2/state"} <= kept.keys()

    def test_the_agents_reason_survives_the_toolkit(self, sagemaker, words, smtrain) -> None:
        fails = script("if [ $SMTRAIN_NODE_RANK = 1 ]; then echo 'ValueError: out of ink' >&2; exit 7; fi; sleep 600")
        answer = smtrain("run", *words, *TWO, fails, "--detach", "--json")
        assert answer.code == 0, answer.out + answer.err
        run_id = answer.document["run_id"]
        job = sagemaker.wait(run_id)
        assert job["TrainingJobStatus"] == "Failed"
        assert "step train failed with exit code 7 on algo-2 (node 1): ValueError: out of ink" in job["FailureReason"]
        # The toolkit keeps the code to itself.
        assert job["FailureReason"].endswith(", exit code: 1")
        assert smtrain("status", run_id).code == 1
        assert stored(sagemaker, f"runs/{run_id}/output/") == {}
