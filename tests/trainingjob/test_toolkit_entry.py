"""`entry=toolkit`: our request and a launch.sh under the `train` command of AWS's own training toolkit.

How the toolkit itself behaves is in test_training_toolkit; here is what launch.sh must live with.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import sdk_environment
from smtrain_trainingjob.rehearsal import namespaces
from smtrain_trainingjob.rehearsal.engine import JobRun
from smtrain_trainingjob.rehearsal.outcome import Outcome, Status
from trainingjob.sample_requests import toolkit

pytestmark = [pytest.mark.sdk, pytest.mark.slow]

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
