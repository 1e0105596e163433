"""Requests against the limits of the service's own model."""

from __future__ import annotations

import difflib
import json
import re
import subprocess
import sys
import time
import warnings
from importlib import util
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from training_job_requests import changed, maximal, minimal

from smtrain import api_limits
from smtrain.service_models import generate_service_models, model, pattern

JOB = "sagemaker.CreateTrainingJob"
ROOT = Path(__file__).parents[1]
GENERATOR = "smtrain/service_models/generate_service_models.py"

needs_botocore = pytest.mark.skipif(util.find_spec("botocore") is None, reason="botocore is not installed")


def problems(request, operation=JOB):
    return list(api_limits.problems(operation, request, key_of=lambda path: ".".join(map(str, path))))


def only(request):
    (problem,) = problems(request)
    return problem


# ------------------------------------------------------------------------------------------------- the committed models


@needs_botocore
@pytest.mark.parametrize("operation", model.operations())
def test_committed_model_is_what_the_installed_botocore_gives(operation):
    import botocore

    recorded = model.load(operation)["botocore"]
    if botocore.__version__ != recorded:
        pytest.skip(f"botocore {botocore.__version__} is installed; the limits are recorded of {recorded}")
    committed = Path(model.__file__).with_name(f"{operation}.json").read_text(encoding="utf-8")
    generated = dict(generate_service_models.documents())[f"{operation}.json"]
    changes = difflib.unified_diff(committed.splitlines(), generated.splitlines(), "committed", "generated", n=0)
    assert committed == generated, "\n".join((f"regenerate it: python {GENERATOR}", *list(changes)[:40]))


@needs_botocore
@pytest.mark.parametrize("request_of", [minimal, maximal])
def test_what_passes_here_passes_the_installed_botocore_whatever_its_version(request_of):
    from botocore.loaders import Loader
    from botocore.model import ServiceModel
    from botocore.validate import ParamValidator

    assert problems(request_of()) == []
    service = ServiceModel(Loader().load_service_model("sagemaker", "service-2"))
    report = ParamValidator().validate(request_of(), service.operation_model("CreateTrainingJob").input_shape)
    assert report.generate_report() == ""


def test_every_operation_that_is_generated_is_committed():
    assert set(model.operations()) == {f"{service}.{name}" for service, name in generate_service_models.OPERATIONS}


@pytest.mark.parametrize("operation", model.operations())
def test_model_refers_to_no_shape_that_it_lacks(operation):
    document = model.load(operation)
    named = {document["input"]}
    for shape in document["shapes"].values():
        named |= {
            *shape.get("members", {}).values(),
            *(shape[part] for part in ("member", "key", "value") if part in shape),
        }
    assert named == set(document["shapes"])


@pytest.mark.parametrize("name", ["sagemaker.DeleteEverything", "../../pyproject", "", "sagemaker.createtrainingjob"])
def test_unknown_operation_is_named_with_the_known_ones(name):
    with pytest.raises(LookupError, match=re.escape(JOB)):
        problems({}, name)


# ------------------------------------------------------------------------------------------------------------ patterns

PATTERNS = sorted(
    {
        (shape["pattern"], shape.get("max", 5000))
        for operation in model.operations()
        for shape in model.load(operation)["shapes"].values()
        if "pattern" in shape
    }
)


@pytest.mark.parametrize(("regex", "longest"), PATTERNS)
def test_no_pattern_takes_long_on_a_value_that_the_length_allows(regex, longest):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pattern.matches(regex, "")
    heads = (
        "",
        "arn:aws:sagemaker:us-east-1:123456789012:hub-content/",
        "fs-",
        "s3://",
        "arn:a:lambda:a:123456789012:function:",
    )
    for head in heads:
        for unit in ("a", "-", "a-", ".", "a.", "1", "/", "é", " ", "\n", "_", "aA", "w-w"):
            for tail in ("", "!", "\n", "é"):
                text = (head + unit * longest)[: longest - len(tail)] + tail
                started = time.process_time()
                pattern.matches(regex, text)
                assert time.process_time() - started < 0.2, text[:80]


@pytest.mark.parametrize(
    ("regex", "text", "good"),
    [
        ("[a-z]+", "abc", True),
        ("[a-z]+", "abc_", False),
        ("[a-z]+", "_abc", False),
        ("[a-z]+$", "abc\n", False),
        (".*", "a b\tc", True),
        (".*", "a\nb", False),
        (".*", "a\rb", False),
        (".*", "a\u2028b", False),
        (".*", "a\x0bb", True),
        (r"[.\-]+", ".-", True),
        (r"[.\-]+", "a", False),
        (r"a\.b", "a.b", True),
        (r"a\.b", "axb", False),
        (r"[\S\s]*", "a\nb", True),
        (r"\d+", "12", True),
        (r"\d+", "١٢", False),
        (r"\w+", "é", False),
        (r"[\p{L}\p{N}]*", "aZ9éжⅣ", True),
        (r"[\p{L}\p{N}]*", "☃", False),
        (r"[\p{Z}]*", " \xa0\u2003", True),
        (r"[\p{Z}]*", "\n", False),
        (r"\p{L}", "é", True),
        (r"[\p{Alnum}\-]+", "aZ9-", True),
        (r"[\p{Alnum}\-]+", "é", False),
        (r"[^/]+", "é☃", True),
    ],
)
def test_pattern_is_evaluated_as_java_does_and_as_a_whole(regex, text, good):
    assert pattern.matches(regex, text) is good


@given(st.text(max_size=40))
def test_tag_pattern_agrees_with_unicode_s_categories(text):
    import unicodedata

    wanted = all(char in "_.:/=+-@" or unicodedata.category(char)[0] in "LZN" for char in text)
    assert pattern.matches(r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)", text) is wanted


# -------------------------------------------------------------------------------------------------- one limit at a time


@pytest.mark.parametrize(
    ("path", "value", "what", "fix"),
    [
        (("TrainingJobName",), "a" * 64, "has 64 characters; it takes at most 63", "Shorten"),
        (("TrainingJobName",), "", "has 0 characters; it takes at least 1", "Write all"),
        (("TrainingJobName",), "my.job", "does not have the form", "as a whole"),
        (("TrainingJobName",), "my_job", "does not have the form", "as a whole"),
        (("TrainingJobName",), "job-", "does not have the form", "as a whole"),
        (("TrainingJobName",), "job\n", "does not have the form", "line breaks"),
        (("TrainingJobName",), 7, "is 7; it takes a string", "Write a string"),
        (("Environment", "FOO"), "x" * 600, "`Environment.FOO` of CreateTrainingJob has 600 char", "Shorten"),
        (("Environment", "1A"), "x", 'the name "1A" in `Environment`', "as a whole"),
        (("Environment", "A-B"), "x", 'the name "A-B" in `Environment`', "as a whole"),
        (("Environment",), {f"K{i}": "" for i in range(101)}, "has 101 entries; it takes at most 100", "Take 1 out"),
        (("HyperParameters", "a"), "b\nc", "does not have the form", "line breaks"),
        (("HyperParameters", "a\nb"), "c", "the name", "line breaks"),
        (("HyperParameters", "a"), "v" * 2501, "has 2501 characters; it takes at most 2500", "Shorten"),
        (("HyperParameters", "a"), 3, "is 3; it takes a string", "Write a string"),
        (("ResourceConfig", "InstanceType"), "ml.g5.13xlarge", 'does not know: "ml.g5.13xlarge"', "`ml.g5.12xlarge`"),
        (("ResourceConfig", "InstanceType"), "g5.12xlarge", "does not know", "`ml.g5.12xlarge`"),
        (("ResourceConfig", "InstanceType"), "zzz", "does not know", "225 values"),
        (("ResourceConfig", "InstanceTyp"), "x", "is not a member", "`InstanceType`"),
        (("ResourceConfig", "InstanceCount"), True, "is true; it takes a whole number", "Write a whole number"),
        (("ResourceConfig", "InstanceCount"), 1.0, "is 1.0; it takes a whole number", "Write a whole number"),
        (("ResourceConfig", "InstanceCount"), -1, "is -1; it takes at least 0", "Raise"),
        (("ResourceConfig", "VolumeSizeInGB"), 2**31, "takes at most 2147483647", "Lower"),
        (("ResourceConfig", "KeepAlivePeriodInSeconds"), 21601, "takes at most 21600", "Lower"),
        (("RetryStrategy", "MaximumRetryAttempts"), 31, "takes at most 30", "Lower"),
        (("AlgorithmSpecification", "TrainingInputMode"), "file", "does not know", "`File`"),
        (("AlgorithmSpecification", "ContainerArguments"), ["x" * 257], "ContainerArguments[0]` of", "Shorten"),
        (("AlgorithmSpecification", "MetricDefinitions"), [{"Name": "a", "Regex": "b"}] * 41, "41 items", "Take 1 out"),
        (("InputDataConfig",), [], "has 0 items; it takes at least 1", "leave it out"),
        (("InputDataConfig",), {}, "is a mapping; it takes a list", "Write a list"),
        (("RoleArn",), "arn:aws:iam::12:role/Training", "does not have the form", "as a whole"),
        (("Tags",), [{"Key": "a", "Value": "☃"}], "Tags[0].Value", "as a whole"),
        (("EnableNetworkIsolation",), "true", 'is the string "true"; it takes true or false', "Write true or false"),
        (("EnableNetworkIsolation",), 1, "is 1; it takes true or false", "Write"),
        (("Nmae",), "x", "`Nmae` is not a member of CreateTrainingJob", ""),
    ],
)  # fmt: skip
def test_each_limit_that_is_broken_is_one_problem_at_its_place(path, value, what, fix):
    problem = only(changed(minimal(), *path, to=value))
    assert what in problem.what
    assert fix in problem.fix
    assert problem.key.startswith(".".join(map(str, path)))


def test_null_is_to_be_left_out():
    problem = only({**minimal(), "Tags": None})
    assert "is null; it takes a list" in problem.what
    assert problem.fix == "Leave it out."


@pytest.mark.parametrize("member", ["TrainingJobName", "RoleArn", "OutputDataConfig"])
def test_missing_member_is_reported_under_its_own_key(member):
    problem = only(changed(minimal(), member, to=None))
    assert problem.key == member
    assert f"needs `{member}`" in problem.what


def test_all_problems_are_found_at_once_in_the_request_s_order():
    request = changed(changed(minimal(), "TrainingJobName", to="a.b"), "ResourceConfig", "InstanceCount", to="1")
    assert [problem.key for problem in problems(request)] == ["TrainingJobName", "ResourceConfig.InstanceCount"]


def test_union_takes_exactly_one_member():
    group = {
        "InstanceGroupName": "workers",
        "InstanceType": "ml.p5.48xlarge",
        "InstanceCount": 2,
        "ExecutionRole": minimal()["RoleArn"],
        "InstanceStorageConfigs": [{"EbsVolumeConfig": {"VolumeSizeInGB": 100}}],
    }
    cluster = {"ClusterName": "c", "InstanceGroups": [group]}
    assert problems(cluster, "sagemaker.CreateCluster") == []
    group["InstanceStorageConfigs"][0]["FsxOpenZfsConfig"] = {"DnsName": "fs-01234567.fsx.us-east-1.amazonaws.com"}
    (problem,) = problems(cluster, "sagemaker.CreateCluster")
    assert "has 2 members; it takes exactly one" in problem.what


# ------------------------------------------------------------------------------------------------------ hostile values


def test_value_of_what_is_named_like_a_secret_is_not_shown():
    request = {**minimal(), "Environment": {"HF_TOKEN": "t0p-s3cret" * 60, "A": "hf_" + "a" * 600}}
    text = "\n".join(map(str, problems(request)))
    assert "600 characters" in text
    assert "t0p" not in text
    assert "hf_a" not in text


def test_long_value_and_long_name_are_shown_cut_short():
    request = {**minimal(), "Environment": {"K" * 600: "v" * 100_000}}
    assert all(len(problem.what) < 400 for problem in problems(request))


@pytest.mark.parametrize("text", ["\x1b[31mred", "\x9b31m", "a\u202eb", 'a"b', "a\\", "$(reboot)", "{x}", "`x`", "%s"])
def test_nothing_that_a_terminal_acts_on_gets_into_a_message(text):
    for request in (
        changed(minimal(), "TrainingJobName", to=text),
        {**minimal(), text: 1},
        {**minimal(), "Environment": {text: ""}},
    ):
        for problem in problems(request):
            assert all(char.isprintable() for char in problem.what)


def test_half_of_a_surrogate_pair_is_refused():
    assert "cannot be sent" in only(changed(minimal(), "Environment", "A", to="\ud83d")).what


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(sorted(model.load(JOB)["shapes"]["CreateTrainingJobRequest"]["members"]))
                | st.text(max_size=5),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_gives_problems_and_no_exception(value):
    found = problems(value if isinstance(value, dict) else {"ResourceConfig": value})
    assert all(problem.what.endswith(".") for problem in found)


# --------------------------------------------------------------------------------------------------------------- speed


def test_checking_imports_no_botocore_and_takes_little_time(tmp_path):
    (tmp_path / "request.json").write_text(json.dumps(maximal()), encoding="utf-8")
    script = (
        "import json, sys, time\n"
        "request = json.load(open('request.json'))\n"
        "import smtrain.errors, smtrain.spec\n"
        "started = time.process_time()\n"
        "from smtrain import api_limits\n"
        f"assert not list(api_limits.problems('{JOB}', request))\n"
        "print(time.process_time() - started)\n"
        "print(sorted({'boto3', 'botocore', 'regex', 'sagemaker'} & set(sys.modules)))\n"
    )
    done = [
        subprocess.run((sys.executable, "-c", script), cwd=tmp_path, capture_output=True, text=True, check=True)
        for _ in range(3)
    ]
    lines = [run.stdout.splitlines() for run in done]
    assert {line[1] for line in lines} == {"[]"}
    best = min(float(line[0]) for line in lines)
    assert best < 0.05, "measured: 13 ms with the imports"
