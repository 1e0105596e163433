"""estimator.py: a script that reads well, and that makes the very job of request.json, sent by the real SDKs."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sdk_environment
from sent_requests import REGION, Sent, recording
from smtrain_trainingjob.estimator import v2 as estimator_v2
from smtrain_trainingjob.estimator import v3 as estimator_v3
from trainingjob.sample_requests import ENTRY, Request, hostile, plain, samples

from smtrain import api_limits
from smtrain.plugin import RUN_ID

RENDER = {"v2": estimator_v2.render, "v3": estimator_v3.render}
SAMPLES = samples()

both = pytest.mark.parametrize("sdk", ["v2", "v3"])
each = pytest.mark.parametrize("name", sorted(SAMPLES))


def calls(script: str, name: str) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(script)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == name:
            yield node


def argument(script: str, call: str, name: str) -> Any:
    (found,) = calls(script, call)
    return next(ast.literal_eval(keyword.value) for keyword in found.keywords if keyword.arg == name)


# ---------------------------------------------------------------------------------------------------------- the text


@each
def test_every_sample_is_within_the_limits_of_the_api(name: str) -> None:
    assert not list(api_limits.problems("sagemaker.CreateTrainingJob", SAMPLES[name]))


def test_the_samples_use_every_member_that_smtrain_writes() -> None:
    from smtrain_trainingjob import request_keys

    used = {
        tuple("*" if isinstance(part, int) else part for part in path)
        for sample in SAMPLES.values()
        for path in paths(sample)
    }
    assert not {path for path in request_keys.KEYS if path not in used}


def paths(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield at
    if isinstance(value, dict):
        for key, item in value.items():
            yield from paths(item, (*at, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from paths(item, (*at, index))


@both
def test_scripts_are_in_ruffs_own_layout_and_name_nothing_that_is_undefined_or_unused(sdk: str, tmp_path: Path) -> None:
    for name, request in SAMPLES.items():
        (tmp_path / f"{name.replace('-', '_')}.py").write_text(RENDER[sdk](request, region=REGION), encoding="utf-8")
    ruff = (sys.executable, "-m", "ruff")
    layout = subprocess.run(
        (*ruff, "format", "--isolated", "--diff", "."), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert layout.stdout == ""
    lint = (*ruff, "check", "--isolated", "--select=E,F,I,W,UP,B", "--ignore=E501", "--output-format=concise", ".")
    found = subprocess.run(lint, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


_SHOW = """
import json, sys
from smtrain_trainingjob.estimator import v2 as estimator_v2
from smtrain_trainingjob.estimator import v3 as estimator_v3
request = json.load(sys.stdin)
print(estimator_v2.render(request), estimator_v3.render(request))
"""


def test_the_bytes_of_a_script_do_not_depend_on_the_hash_seed() -> None:
    shown = {
        subprocess.run(
            (sys.executable, "-c", _SHOW),
            input=json.dumps(SAMPLES["everything"]),
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(shown) == 1


@both
def test_hostile_values_are_what_they_were(sdk: str) -> None:
    script = RENDER[sdk](hostile())
    call = {"v2": "Estimator", "v3": "ModelTrainer"}[sdk]
    assert argument(script, call, "environment") == hostile()["Environment"]
    assert argument(script, call, "hyperparameters") == hostile()["HyperParameters"]
    assert all(line.isprintable() for line in script.split("\n"))


@both
def test_the_runs_name_may_still_be_a_token(sdk: str) -> None:
    request = plain() | {"TrainingJobName": RUN_ID, "Environment": {"SMTRAIN_OUTPUT_URI": f"s3://bucket/team/{RUN_ID}"}}
    named = RENDER[sdk](request).replace(RUN_ID, "plain-0123456789")
    assert named == RENDER[sdk](plain())


@both
def test_the_region_is_said_where_it_is_known_and_otherwise_left_to_the_environment(sdk: str) -> None:
    assert 'os.environ["AWS_DEFAULT_REGION"] = "eu-west-1"' in RENDER[sdk](plain(), region="eu-west-1")
    assert "AWS_DEFAULT_REGION" not in RENDER[sdk](plain())


def test_the_v3_script_says_in_model_trainers_words_all_that_it_has_words_for() -> None:
    script = estimator_v3.render(SAMPLES["everything"])
    (more,) = re.findall(r"^MORE = (\{.*?^\})", script, re.MULTILINE | re.DOTALL)
    assert ast.literal_eval(more) == {
        "AlgorithmSpecification": {"ContainerEntrypoint": ENTRY},
        "ExperimentConfig": SAMPLES["everything"]["ExperimentConfig"],
        "ProfilerConfig": {"DisableProfiler": True},
    }


def test_the_v2_script_needs_no_handler_for_what_estimator_takes() -> None:
    script = estimator_v2.render(SAMPLES["everything"])
    assert "MORE" not in script
    assert "boto_session" not in script


# --------------------------------------------------------------------------------------------------- the real SDKs

# One process sends all: importing the SDK takes seconds.
_RUN_ALL = """
import functools, runpy, sys, traceback
from botocore.loaders import JSONFileLoader
from jsonschema import Draft202012Validator
# For time alone (164 s became 72): each session parses ten megabytes of the service's model anew, and the SDKs
# look whether their own schema is one, sixteen times a job.
parse = functools.cache(functools.partial(JSONFileLoader().load_file))
JSONFileLoader.load_file = lambda _, path: parse(path)
Draft202012Validator.check_schema = lambda *_, **__: None
first, *rest = sys.argv[1:]
failed = []
for path, options in [(first, ()), *((path, ("--no-wait",)) for path in rest)]:
    sys.argv[:] = [path, *options]
    try:
        runpy.run_path(path, run_name="__main__")
    except BaseException:
        traceback.print_exc()
        failed.append(path)
sys.exit(f"failed: {failed}" if failed else 0)
"""


def send(sdk: str, folder: Path) -> Sent:
    """Returns what the SDK sent for all the samples; of the first, the end was waited for."""
    scripts = [folder / name / "estimator.py" for name in SAMPLES]
    for name, script in zip(SAMPLES, scripts, strict=True):
        script.parent.mkdir()
        script.write_text(RENDER[sdk](SAMPLES[name], region=REGION), encoding="utf-8")
    interpreter = sdk_environment.python(f"sdk-{sdk}")
    with recording() as sent:
        command = (str(interpreter), "-c", _RUN_ALL, *map(str, scripts))
        ran = subprocess.run(
            command, env=environment(sent.environment(), folder), capture_output=True, text=True, check=False
        )
    assert ran.returncode == 0, ran.stderr[-5000:]
    return sent


def environment(aws: dict[str, str], folder: Path) -> dict[str, str]:
    """Returns the SDK's environment, in which it reports to nobody."""
    settings = folder / "sagemaker.yaml"
    settings.write_text(
        "SchemaVersion: '1.0'\nSageMaker: {PythonSDK: {Modules: {TelemetryOptOut: true}}}\n", encoding="utf-8"
    )
    return {
        **aws,
        "SAGEMAKER_USER_CONFIG_OVERRIDE": str(settings),
        "SAGEMAKER_ADMIN_CONFIG_OVERRIDE": str(settings),
    }


@pytest.fixture(scope="module")
def sent_v2(tmp_path_factory: pytest.TempPathFactory) -> Sent:
    return send("v2", tmp_path_factory.mktemp("v2"))


@pytest.fixture(scope="module")
def sent_v3(tmp_path_factory: pytest.TempPathFactory) -> Sent:
    return send("v3", tmp_path_factory.mktemp("v3"))


def canonical(request: Request) -> Request:
    """The request without members that say nothing, and with the one default that ModelTrainer writes out."""
    stated = {name: value for name, value in request.items() if value not in ({}, [])}
    # docs.aws.amazon.com/sagemaker/latest/APIReference/API_OutputDataConfig.html: "the default is GZIP".
    return stated | {"OutputDataConfig": {"CompressionType": "GZIP", **stated["OutputDataConfig"]}}


@pytest.mark.sdk("sdk-v3")
@pytest.mark.slow
@each
def test_sdk_v3_sends_the_same_request(name: str, sent_v3: Sent) -> None:
    assert canonical(sent_v3.jobs[SAMPLES[name]["TrainingJobName"]]) == canonical(SAMPLES[name])


@pytest.mark.sdk("sdk-v2")
@pytest.mark.slow
@each
def test_sdk_v2_sends_the_same_request(name: str, sent_v2: Sent) -> None:
    assert canonical(sent_v2.jobs[SAMPLES[name]["TrainingJobName"]]) == canonical(SAMPLES[name])


@pytest.mark.sdk("sdk-v3")
@pytest.mark.slow
def test_sdk_v3_asks_after_the_job_by_its_own_name(sent_v3: Sent) -> None:
    asked = {request["TrainingJobName"] for call, request in sent_v3.calls if call == "SageMaker.DescribeTrainingJob"}
    assert asked == {request["TrainingJobName"] for request in SAMPLES.values()}


@pytest.mark.sdk("sdk-v2", "sdk-v3")
@pytest.mark.slow
def test_the_sdks_call_nothing_else(sent_v2: Sent, sent_v3: Sent) -> None:
    names = {call for sent in (sent_v2, sent_v3) for call, _ in sent.calls}
    assert names == {
        "SageMaker.CreateTrainingJob",
        "SageMaker.DescribeTrainingJob",
        "Logs_20140328.DescribeLogStreams",
    }
