"""AWS's own training toolkit, the `train` command of its images, under the rehearsal engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sdk_environment
from smtrain_trainingjob.rehearsal import folders, namespaces
from smtrain_trainingjob.rehearsal.engine import JobRun
from smtrain_trainingjob.rehearsal.outcome import Status

pytestmark = pytest.mark.sdk("toolkit")

ENTRY = """\
#!/bin/bash
printf '%s\\n' "$PWD" "$SM_CURRENT_HOST" "$SM_HPS" "$*" >"$SM_MODEL_DIR/seen"
exit "$SM_HP_CODE"
"""


@pytest.fixture(scope="session")
def toolkit() -> Path:
    """Folder of the toolkit's programs."""
    return sdk_environment.python("toolkit").parent


@pytest.fixture(params=["namespaces", "folders"])
def isolation(request):
    found = folders.Folders() if request.param == "folders" else namespaces.find()
    if found is None:
        pytest.skip("this user may make no namespaces on this machine")
    return found


@pytest.mark.parametrize("code", [0, 7])
def test_a_shell_entry_point_runs_on_every_host(toolkit, isolation, tmp_path, code):
    def write_entry(channel, folder):
        (folder / "entry.sh").write_text(ENTRY)

    said = []
    request = {
        "TrainingJobName": "toolkit",
        "AlgorithmSpecification": {"TrainingImage": "pytorch-training", "TrainingInputMode": "File"},
        "HyperParameters": {
            "sagemaker_program": "entry.sh",
            "sagemaker_submit_directory": "/opt/ml/input/data/code",
            "code": str(code),
            "text": "two words",
        },
        "InputDataConfig": [
            {
                "ChannelName": "code",
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/code/"}},
            }
        ],
        "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 1},
    }
    outcome = JobRun(
        request=request,
        workspace=tmp_path / "job",
        channels=write_entry,
        environment={"PATH": f"{toolkit}:/usr/bin:/bin", "HOME": str(tmp_path)},
        isolation=isolation,
        on_line=lambda host, text: said.append(f"{host}: {text}"),
    ).run()
    text = "\n".join(said)
    if code == 0:
        assert outcome.status is Status.COMPLETED, text
    else:
        # The toolkit keeps the entry point's own code to its message: the container's is always 1.
        assert outcome.status is Status.FAILED
        assert outcome.failure_reason.startswith("AlgorithmError: ExecuteUserScriptError:\nExitCode 7\n")
        assert outcome.failure_reason.endswith(", exit code: 1")
    seen = [path.read_text().splitlines() for path in sorted(tmp_path.glob("job/algo-*/opt/ml/model/seen"))]
    assert seen, text
    for folder, host, hyperparameters, arguments in seen:
        assert folder.endswith("/opt/ml/code")  # where it copies a submitted folder to
        assert host in {"algo-1", "algo-2"} or host.startswith("127.")
        assert json.loads(hyperparameters) == {"code": code, "text": "two words"}
        assert arguments == f"--code {code} --text two words"
