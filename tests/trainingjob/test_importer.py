from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from plain_trainer import plain_trainer  # noqa: F401  # a fixture
from sample_requests import samples
from smtrain_trainingjob import inputs
from smtrain_trainingjob.importing import request_text
from smtrain_trainingjob.importing.importer import STATE, Importer
from training_job_requests import IMAGE, ROLE, changed, maximal, s3_channel

from smtrain.errors import SmtrainError
from smtrain.testing import compile_overrides

Request = dict[str, Any]
Leaves = dict[tuple[str, ...], Any]

LOST = (
    r"AlgorithmSpecification\.(ContainerEntrypoint|ContainerArguments|EnableSageMakerMetricsTimeSeries)",
    r"AlgorithmSpecification\.(TrainingImageConfig|TrainingInputMode)",
    r"OutputDataConfig\.CompressionType",
    r"ResourceConfig\.TrainingPlanArn",
    r"StoppingCondition\.MaxPendingTimeInSeconds",
    r"InputDataConfig\.(program|agent)",
    r"Environment\.SMTRAIN_OUTPUT_URI",
    r"HyperParameters\.sagemaker_(program|submit_directory)",
    "DebugHookConfig|InfraCheckConfig|SessionChainingConfig|TensorBoardOutputConfig",
)
"""All that may be lost of the samples, and must then be told of."""

SAMPLES = samples()

CHOICES = ("trainer=plain", "strategy=ddp", "model=custom", "model.path=target:/opt/ml/input/data/models/a")
"""What an imported experiment leaves to its user."""

TYPE_WITHOUT_DISKS = {("ResourceConfig", "InstanceType"): "compute.instance_type=ml.p3.2xlarge"}
MEND: dict[str, dict[tuple[str, ...], str]] = {
    # An image in ECR, in the place of one that only a VPC has.
    "private-registry": {
        ("AlgorithmSpecification", "TrainingImage"): f"backend.image={IMAGE.replace('us-east-1', 'us-west-2')}"
    },
    "kms": TYPE_WITHOUT_DISKS,
    "everything": TYPE_WITHOUT_DISKS,
    # Hosts without GPUs beside hosts with some are of no use to a trainer; the compile says so.
    "heterogeneous": {(): "compute.accelerator=cpu"},
}
"""Sample that SageMaker would refuse → what the compile tells its user to set, and the member that it is about."""


def fitting() -> Request:
    """The largest request, cut to what leaves room for smtrain's own channels, variables and checks."""
    request = maximal()
    for way in (("InputDataConfig",), ("AlgorithmSpecification", "MetricDefinitions"), ("HyperParameters",)):
        value = request[way[0]] if len(way) == 1 else request[way[0]][way[1]]
        kept = dict(list(value.items())[-90:]) if isinstance(value, dict) else value[-17:]
        request = changed(request, *way, to=kept)
    request["Environment"] = dict(list(request["Environment"].items())[:90])
    request["OutputDataConfig"]["S3OutputPath"] = "s3://bucket/" + "p" * 900
    request["RemoteDebugConfig"]["EnableRemoteDebug"] = True
    request["ResourceConfig"] |= {"InstanceCount": 3, "VolumeSizeInGB": 16_384}
    return request


def imported(request: Request | str, source: str = "job.json") -> str:
    text = request if isinstance(request, str) else json.dumps(request)
    return Importer().convert(text, source=source, root=Path())


def values(request: Request | str) -> Any:
    return OmegaConf.to_container(OmegaConf.create(imported(request)), resolve=True)


def refused(text: str) -> str:
    with pytest.raises(SmtrainError) as caught:
        imported(text)
    return str(caught.value)


def compiled(text: str, folder: Path, *overrides: str) -> Request:
    """Compiles an imported experiment as its user would, with the trainer that needs nothing."""
    (folder / "conf" / "experiment").mkdir(parents=True, exist_ok=True)
    (folder / "conf" / "experiment" / "old.yaml").write_text(text, encoding="utf-8")
    found = compile_overrides(["experiment=old", *CHOICES, *overrides], config_dir=folder / "conf").bundle.files
    content = next(file.content for file in found if file.path == "request.json")
    assert isinstance(content, bytes)
    document: Request = json.loads(content)
    return document


def told(text: str) -> set[str]:
    """The paths that the comments tell of."""
    return set(re.findall(r"^ *# Not carried over: ([^:]+(?::[^ :]+)*): ", text, re.MULTILINE))


def leaves(value: Any, *path: str) -> Leaves:
    if isinstance(value, dict):
        return {key: leaf for name, item in value.items() for key, leaf in leaves(item, *path, name).items()}
    return {path: value}


def canonical(request: Request) -> Leaves:
    """A request as paths and values: lists by name, what is a default left out, and the mode said of each channel."""
    named = dict(request)
    algorithm = dict(named["AlgorithmSpecification"])
    mode = algorithm.get("TrainingInputMode", "File")
    algorithm["MetricDefinitions"] = {item["Name"]: item["Regex"] for item in algorithm.get("MetricDefinitions", ())}
    if algorithm.get("TrainingImageConfig") == {"TrainingRepositoryAccessMode": "Platform"}:
        del algorithm["TrainingImageConfig"]
    named["AlgorithmSpecification"] = algorithm
    resources = dict(named["ResourceConfig"])
    resources["InstanceGroups"] = {item["InstanceGroupName"]: item for item in resources.get("InstanceGroups", ())}
    named["ResourceConfig"] = resources
    named["Tags"] = {item["Key"]: item["Value"] for item in named.get("Tags", ())}
    named["InputDataConfig"] = {item["ChannelName"]: channel(item, mode) for item in named.get("InputDataConfig", ())}
    checkpoints = named.get("CheckpointConfig")
    if checkpoints:
        named["CheckpointConfig"] = {"LocalPath": "/opt/ml/checkpoints"} | checkpoints
    return {path: value for path, value in leaves(named).items() if value is not False}


def channel(given: Request, mode: str) -> Request:
    source = given["DataSource"].get("S3DataSource")
    if source is None:
        return given
    full = {"S3DataDistributionType": "FullyReplicated"} | source
    return {"InputMode": mode} | given | {"DataSource": {"S3DataSource": full}}


@pytest.mark.usefixtures("plain_trainer")
@pytest.mark.parametrize("name", [*SAMPLES, "fitting"])
def test_compiling_what_was_imported_gives_every_member_back_that_no_comment_tells_of(
    name: str, tmp_path: Path
) -> None:
    original = fitting() if name == "fitting" else SAMPLES[name]
    text = imported(original)
    lost = told(text)
    assert all(any(re.fullmatch(pattern, path) for pattern in LOST) for path in lost)

    mended = MEND.get(name, {})

    again = canonical(compiled(text, tmp_path, *mended.values()))

    expected = {path: value for path, value in canonical(original).items() if path[0] != "TrainingJobName"}
    dotted = {path: {".".join(path[:length]) for length in range(1, len(path) + 1)} for path in expected}
    kept = {path: value for path, value in expected.items() if not dotted[path] & lost}
    # The mode is said of each channel, in the place of the job.
    for path in (("AlgorithmSpecification", "TrainingInputMode"), *mended):
        kept.pop(path, None)
    assert {path: again.get(path) for path in kept} == kept
    assert ("ProfilerConfig" in original) == (("ProfilerConfig", "DisableProfiler") in again)


def test_everything_is_in_the_experiment_of_the_largest_request() -> None:
    request = maximal()
    backend = values(request)["backend"]
    assert backend["environment"] == request["Environment"]
    assert backend["hyperparameters"] == request["HyperParameters"]
    assert backend["tags"] == {tag["Key"]: tag["Value"] for tag in request["Tags"]}
    assert backend["metrics"] == {
        each["Name"]: each["Regex"] for each in request["AlgorithmSpecification"]["MetricDefinitions"]
    }
    assert [*backend["channels"], *backend["file_systems"]] == [
        each["ChannelName"] for each in request["InputDataConfig"]
    ]


def test_the_same_request_gives_the_same_text() -> None:
    assert imported(SAMPLES["everything"]) == imported(json.dumps(SAMPLES["everything"], indent=4))


def test_the_page_shows_what_importing_its_request_gives() -> None:
    page = (Path(__file__).parents[2] / "docs" / "trainingjob.md").read_text(encoding="utf-8")
    files = re.findall(r"^```\w+ title=(\S+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    shown = dict(files)
    assert imported(shown["job.json"]) == shown["conf/experiment/job.yaml"]


# --------------------------------------------------------------------------------------------- what is not carried over


def test_what_starts_the_container_is_told_in_a_comment_where_it_stood() -> None:
    request = changed(SAMPLES["plain"], "AlgorithmSpecification", "ContainerEntrypoint", to=["python3", "train.py"])
    text = imported(request)
    comment = (
        '  # Not carried over: AlgorithmSpecification.ContainerEntrypoint: ["python3", "train.py"]\n  #   The trainer'
    )
    assert comment in text
    assert text.index("\n  image:") < text.index(comment) < text.index("\n  max_run_s:")


def test_an_algorithm_of_the_marketplace_is_told_of() -> None:
    request = changed(SAMPLES["bare"], "AlgorithmSpecification", "TrainingImage", to=None)
    text = imported(changed(request, "AlgorithmSpecification", "AlgorithmName", to="xgboost"))
    assert '# Not carried over: AlgorithmSpecification.AlgorithmName: "xgboost"' in text
    assert "\n  image:" not in text


@pytest.mark.parametrize(
    "way", [(), ("ResourceConfig",), ("InputDataConfig", 0), ("CheckpointConfig",), ("VpcConfig",)]
)
def test_a_member_that_nobody_knows_is_told_of(way: tuple[str | int, ...]) -> None:
    request = SAMPLES["everything"] | {"InputDataConfig": [s3_channel("data")]}
    text = imported(changed(request, *way, "Flux\nCapacitor", to={"Gigawatts": [1.21]}))
    assert re.search(
        r'^ *# Not carried over: [\w.\[\]]*Flux\\u000aCapacitor: {"Gigawatts": \["1.21"\]}$', text, re.MULTILINE
    )
    yaml.safe_load(text)


def test_members_of_a_data_source_that_are_not_carried_over_are_told_of() -> None:
    request = SAMPLES["bare"] | {"InputDataConfig": [s3_channel("data")]}
    request = changed(
        request, "InputDataConfig", 0, "DataSource", "S3DataSource", "ModelAccessConfig", to={"AcceptEula": True}
    )
    assert "InputDataConfig[0].DataSource.S3DataSource.ModelAccessConfig" in told(imported(request))
    other = {"ChannelName": "data", "DataSource": {"DatasetSource": {"DatasetArn": "arn:x"}}}
    assert told(imported(SAMPLES["bare"] | {"InputDataConfig": [other]})) == {"InputDataConfig.data"}


@pytest.mark.parametrize("name", inputs.OURS)
def test_a_channel_with_the_name_of_one_of_smtrains_is_told_of(name: str) -> None:
    text = imported(SAMPLES["bare"] | {"InputDataConfig": [s3_channel(name)]})
    assert told(text) == {f"InputDataConfig.{name}"}
    assert "channels" not in values(SAMPLES["bare"] | {"InputDataConfig": [s3_channel(name)]})["backend"]


def test_long_values_are_cut_in_comments_and_say_so() -> None:
    request = changed(SAMPLES["bare"], "AlgorithmSpecification", "ContainerArguments", to=["x" * 256] * 100)
    line = next(line for line in imported(request).splitlines() if "ContainerArguments" in line)
    assert len(line) < 400
    assert line.endswith("… (26000 characters in all)")


def test_a_volume_of_no_size_is_left_to_smtrain() -> None:
    request = changed(SAMPLES["bare"], "ResourceConfig", "VolumeSizeInGB", to=0)
    assert "volume_gib" not in values(request)["backend"]
    assert told(imported(request)) == {"ResourceConfig.VolumeSizeInGB"}


# ---------------------------------------------------------------------------------------------------- describe's answer


def described() -> Request:
    arn = "arn:aws:sagemaker:eu-west-1:123456789012:training-job/bare"
    state = dict.fromkeys(sorted(STATE), "x") | {
        "TrainingJobArn": arn,
        "ModelArtifacts": {"S3ModelArtifacts": "s3://bucket/model.tar.gz"},
        "SecondaryStatusTransitions": [{"Status": "Completed", "StartTime": "2024-01-01T00:00:00+00:00"}],
        "BillableTimeInSeconds": 10,
    }
    kept = changed(
        SAMPLES["bare"], "OutputDataConfig", to={"KmsKeyId": "", "S3OutputPath": "s3://b/c", "CompressionType": "GZIP"}
    )
    flags = {"EnableNetworkIsolation": False, "EnableManagedSpotTraining": False}
    kept["AlgorithmSpecification"] |= {"EnableSageMakerMetricsTimeSeries": False}
    return kept | flags | state


def test_an_answer_of_describe_is_imported_without_what_became_of_the_job() -> None:
    text = imported(described())
    assert told(text) == set()
    assert not STATE & set(re.findall(r"\w+", text))
    assert "list-tags" in text
    backend = values(described())["backend"]
    assert {"spot", "network_isolation", "kms"}.isdisjoint(backend)


def test_the_members_of_state_are_those_that_describe_adds() -> None:
    session = pytest.importorskip("botocore.session")
    model = session.get_session().get_service_model("sagemaker")
    asked = set(model.operation_model("CreateTrainingJob").input_shape.members)
    told_of = set(model.operation_model("DescribeTrainingJob").output_shape.members)
    assert (told_of - asked) | {"ResponseMetadata"} == STATE


# ------------------------------------------------------------------------------------------------------ region and name


@pytest.mark.parametrize(
    ("request_", "region"),
    [
        (SAMPLES["plain"], "us-east-1"),
        (described(), "eu-west-1"),
        (SAMPLES["private-registry"], "us-west-2"),
        (changed(SAMPLES["bare"], "AlgorithmSpecification", "TrainingImage", to="image:1"), None),
        (changed(SAMPLES["kms"], "AlgorithmSpecification", "TrainingImage", to="image:1"), "us-west-2"),
        (
            changed(SAMPLES["plain"], "AlgorithmSpecification", "TrainingImage", to="image:1")
            | {"Environment": {"A": "arn:aws:secretsmanager:us-east-2:123456789012:secret:a"}},
            None,
        ),
    ],
)
def test_the_region_is_that_of_what_must_be_in_it(request_: Request, region: str | None) -> None:
    assert values(request_)["backend"].get("region") == region
    assert (region is None) == ("set backend.region" in imported(request_))


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("a-job", "a-job"),
        ("a--job-", "a-job"),
        ("pytorch-training-2024-01-02-03-04-05-678", "pytorch-training"),
        ("sft-20240102030405", "sft"),
        ("a" + "-b" * 31, "a" + "-b" * 19),
        ("模型", None),
        ("yes", "yes"),
        ("0123", "0123"),
    ],
)
def test_the_name_becomes_a_valid_one(given: str, name: str | None) -> None:
    document = values(SAMPLES["bare"] | {"TrainingJobName": given})
    assert document.get("name") == name
    assert (given == name) != ("The job was called" in imported(SAMPLES["bare"] | {"TrainingJobName": given}))


# ------------------------------------------------------------------------------------------------------- hostile values

HOSTILE = [
    "yes", "NO", "on", "null", "~", "", "0o17", "017", "1e-4", "1_000", "1:30", "2024-01-01", ".inf", "NaN", "=", "<<",
    "!x", "- a", "a: b", "a #b", "#", "${x}", "\\${x}", "${oc.env:HOME}", "\\\\${", "{a}", "[a", "'", '"', "a\nb",
    "\r\n", "\t", "\0", "\x85", "\u2028", "\ufeff", "\U000e0001", "🚀", "%a", "@a", "`a`", "*a", "&a", "|", ">", "?",
    "true", "0x1F", "-", "---", "...", "a.${b}", "a", "hydra", "_self_",
]  # fmt: skip


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_values_and_names_survive(value: str) -> None:
    request = SAMPLES["bare"] | {
        "Environment": {"A": value},
        "HyperParameters": {value: value},
        "Tags": [{"Key": value or "k", "Value": value}],
    }
    backend = values(request)["backend"]
    assert backend["environment"] == {"A": value}
    assert backend["hyperparameters"] == {value: value}
    assert backend["tags"] == {value or "k": value}


@pytest.mark.usefixtures("plain_trainer")
def test_hostile_values_and_names_compile_to_themselves(tmp_path: Path) -> None:
    told_values = {value: value for value in HOSTILE}
    request = SAMPLES["bare"] | {
        "HyperParameters": {name: value for name, value in told_values.items() if _sendable(value)}
    }
    assert compiled(imported(request), tmp_path)["HyperParameters"] == request["HyperParameters"]


def _sendable(value: str) -> bool:
    # SageMaker's own pattern of hyperparameters is one line of anything.
    return len(f"{value}x".splitlines()) == 1 and value != "\0"


@given(st.text())
def test_any_text_survives_or_is_told_of(text: str) -> None:
    request = SAMPLES["bare"] | {"HyperParameters": {"x": text}}
    document = imported(request)
    document.encode()
    if text == "???" or any("\ud800" <= char <= "\udfff" for char in text):
        assert "# Not carried over: x: " in document
    else:
        assert values(request)["backend"]["hyperparameters"] == {"x": text}


@pytest.mark.usefixtures("plain_trainer")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=("C",)), min_size=1, max_size=20).filter(
            lambda name: name[:3] != "sag"
        ),
        st.text(st.characters(exclude_categories=("C",)), max_size=40).filter(lambda value: value != "???"),
        max_size=4,
    )
)
def test_any_hyperparameters_compile_to_themselves(tmp_path: Path, given_: dict[str, str]) -> None:
    request = SAMPLES["bare"] | {"HyperParameters": given_}
    assert compiled(imported(request), tmp_path).get("HyperParameters", {}) == given_


@pytest.mark.parametrize("value", ["???", "\ud800"])
def test_what_no_config_can_hold_is_told_of(value: str) -> None:
    request = SAMPLES["vpc"] | {"Environment": {"A": value, "B": "b"}}
    text = imported(changed(request, "VpcConfig", "Subnets", to=["subnet-1", value]))
    assert told(text) >= {"A", "subnets"}
    assert yaml.safe_load(text)["backend"]["environment"] == {"B": "b"}
    text.encode()


def test_the_source_in_the_head_cannot_end_its_comment() -> None:
    assert yaml.safe_load(imported(SAMPLES["bare"], source="a\nname: evil\x1b\u2028{x}"))["name"] == "bare-0123456789"


def test_numbers_and_booleans_where_text_belongs_become_the_text_that_was_written() -> None:
    text = json.dumps(SAMPLES["bare"] | {"HyperParameters": {"a": 1, "b": True, "d": None}})
    text = text.replace('"a": 1', '"a": 1, "c": 1.50')
    assert values(text)["backend"]["hyperparameters"] == {"a": "1", "c": "1.50", "b": "true", "d": ""}


# ----------------------------------------------------------------------------------------------------------------- YAML


@pytest.mark.parametrize("name", SAMPLES)
def test_yaml_is_read_as_the_same_request(name: str) -> None:
    assert imported(yaml.safe_dump(SAMPLES[name], allow_unicode=True, sort_keys=False)) == imported(SAMPLES[name])


def test_yaml_without_quotes_is_read_as_awss_tools_write_it() -> None:
    text = (
        yaml.safe_dump(SAMPLES["bare"]) + "HyperParameters: {a: yes, b: 2024-01-01, c: 017, d: 1:30, e: 1e-4, f: 1_0}\n"
    )
    text += "EnableManagedSpotTraining: true\n"
    backend = values(text)["backend"]
    assert backend["hyperparameters"] == {
        "a": "yes",
        "b": "2024-01-01",
        "c": "017",
        "d": "1:30",
        "e": "1e-4",
        "f": "1_0",
    }
    assert backend["spot"] is True
    assert backend["max_run_s"] == 86_400


# ------------------------------------------------------------------------------------------------------------- refusals

BARE = json.dumps(SAMPLES["bare"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "job.json: There is nothing in the file"),
        (" \n", "nothing in the file"),
        ("[]", "A list"),
        ("- a", "A list"),
        ("words", "A single value"),
        ('"words"', "A single value"),
        ("{}", "it has no `RoleArn`, `AlgorithmSpecification`, `OutputDataConfig`, `ResourceConfig`"),
        (
            json.dumps({"RoleArn": ROLE, "ResourceConfig": {}, "OutputDataConfig": 1}),
            "no `AlgorithmSpecification`, `Res",
        ),
        (json.dumps({"TrainingJob": SAMPLES["bare"]}), "Give what stands under `TrainingJob` alone"),
        ("{'TrainingJobName': 'a'}", r"job.json:1: Not valid JSON(?s:.*)json.dumps"),
        ('{\n"a": 1,\n', "job.json:3: Not valid JSON"),
        ('{"a": 1, "a": 2}', "'a' comes twice"),
        ("a: 1\na: 2\n", "job.json:2: Not valid YAML: 'a' comes twice"),
        ("? [a]\n: 1\n", "a name that is no text"),
        ("a: &a [b, *a]\n", "references"),
        (
            "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" if n else "a0: &a0 x\n" for n in range(30)),
            "references",
        ),
        ("a: [\n", "job.json:2: Not valid YAML"),
        ("a: \x01\n", "Not valid YAML"),
        ("a: !!python/object:os.system 1\n", "Not valid YAML"),
        ("[" * 100_000, "Not valid JSON"),
        ("a: " + "[" * 5_000, "Not valid YAML"),
        ('{"a": ' + "9" * 5_000 + "}", "Not valid JSON"),
        (BARE.replace(f'"{ROLE}"', "7"), "job.json: RoleArn: It is a number, and takes text"),
        (
            BARE.replace('"InstanceCount": 1', '"InstanceCount": "1"'),
            "ResourceConfig.InstanceCount: It is text, and takes a whole",
        ),
        (BARE.replace('"InstanceCount": 1', '"InstanceCount": true'), "InstanceCount: It is true or false"),
        (BARE[:-1] + ', "Tags": {"a": "b"}}', "Tags: It is a mapping, and takes a list of mappings"),
        (BARE[:-1] + ', "Tags": [1]}', "Tags: It is a list, and takes a list of mappings"),
        (BARE[:-1] + ', "Tags": [{"Value": "b"}]}', r"Tags\[0\].Key: It is missing"),
        (BARE[:-1] + ', "Tags": [{"Key": "b"}, {"Key": "b"}]}', "Two of them are named 'b'"),
        (
            BARE[:-1] + ', "VpcConfig": {"Subnets": "subnet-1"}}',
            "VpcConfig.Subnets: It is text, and takes a list of texts",
        ),
        (BARE[:-1] + ', "Environment": {"A": {"B": 1}}}', "Environment.A: It is a mapping, and takes text"),
        (
            BARE[:-1] + ', "EnableNetworkIsolation": "yes"}',
            "EnableNetworkIsolation: It is text, and takes true or false",
        ),
    ],
)
def test_what_is_no_request_is_refused_with_its_place(text: str, said: str) -> None:
    assert re.search(said, refused(text))


def test_all_mistakes_are_told_at_once() -> None:
    assert (
        refused(BARE.replace(f'"{ROLE}"', "7").replace('"InstanceCount": 1', '"InstanceCount": "1"')).count("job.json")
        == 2
    )


@pytest.mark.parametrize("absent", [None, [], {}, ""])
def test_an_empty_member_is_an_absent_one(absent: object) -> None:
    names = ("VpcConfig", "Tags", "InputDataConfig", "CheckpointConfig", "EnableManagedSpotTraining", "DebugHookConfig")
    assert imported(SAMPLES["bare"] | dict.fromkeys(names, absent)) == imported(SAMPLES["bare"])


def test_a_byte_order_mark_is_no_part_of_a_request() -> None:
    assert imported("\ufeff" + BARE) == imported(BARE)


def test_the_required_members_are_in_every_sample() -> None:
    assert all(set(request_text.REQUIRED) <= request.keys() for request in SAMPLES.values())
