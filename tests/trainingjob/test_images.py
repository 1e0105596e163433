"""Which Deep Learning Container a job gets, and what is said about it."""

import json
import subprocess
import sys
import zipfile
from datetime import date
from pathlib import Path

import pytest
from smtrain_trainingjob.images import images
from smtrain_trainingjob.images.images import Image

from smtrain.plugin import Needs, Package, Problem, Severity

FOLDER = Path(images.__file__).parent
TABLE = json.loads((FOLDER / "images.json").read_text(encoding="utf-8"))
HUGGINGFACE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/huggingface-pytorch-training"
LLAMAFACTORY = Needs(python=">=3.11", packages=(Package(name="torch", specifier=">=2.4"),))


def look_up(**changed: object) -> Image | Problem:
    said = {
        "framework": "pytorch",
        "version": "2.8",
        "python": None,
        "transformers": None,
        "region": "us-east-1",
        "gpu": True,
    }
    return images.look_up(**(said | changed))


def image(**changed: object) -> Image:
    found = look_up(**changed)
    assert isinstance(found, Image), found
    return found


def problem(**changed: object) -> Problem:
    found = look_up(**changed)
    assert isinstance(found, Problem), found
    return found


# ------------------------------------------------------------------------------------------------------------- look_up


@pytest.mark.parametrize(
    ("said", "uri"),
    [
        ({}, "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.8.0-gpu-py312"),
        ({"gpu": False}, "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.8.0-cpu-py312"),
        (
            {"version": "2.10.0", "python": "py313", "region": "eu-south-1"},
            "692866216735.dkr.ecr.eu-south-1.amazonaws.com/pytorch-training:2.10.0-gpu-py313",
        ),
        (
            {"version": "2.8.0", "region": "cn-north-1"},
            "727897471807.dkr.ecr.cn-north-1.amazonaws.com.cn/pytorch-training:2.8.0-gpu-py312",
        ),
        (
            {"version": "2.13"},
            "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch:2.13-cu133-amzn2023-sagemaker",
        ),
        (
            {"framework": "huggingface", "version": "2.8", "transformers": "4.56"},
            f"{HUGGINGFACE}:2.8.0-transformers4.56.2-gpu-py312-cu129-ubuntu22.04",
        ),
    ],
)
def test_an_image_is_looked_up_by_framework_version_and_region(said, uri):
    assert image(**said).uri == uri


def test_an_image_says_what_is_in_it():
    assert image(framework="huggingface", version="2.9") == Image(
        uri=f"{HUGGINGFACE}:2.9.0-transformers5.3.0-gpu-py312-cu130-ubuntu22.04",
        framework="huggingface",
        version="2.9.0",
        python="3.12",
        torch="2.9.0",
        transformers="5.3.0",
        gpu=True,
        end_of_life=None,
    )
    assert image(version="2.10").end_of_life == "2027-01-21"


def test_2_1_is_not_the_beginning_of_2_10():
    assert image(version="2.1").version == "2.1.0"
    assert image(version="2").version == "2.14"


def test_without_a_version_the_newest_that_is_patched_and_known_is_taken():
    """2.14 is newer, but what Python it has is unknown."""
    assert image(version=None).version == "2.13"
    assert image(version=None, framework="huggingface").transformers == "5.3.0"


def test_of_several_transformers_the_newest_is_taken():
    assert image(framework="huggingface", version="2.3").transformers == "4.48.0"
    assert image(framework="huggingface", version="2.3", transformers="4.46").transformers == "4.46.1"


@pytest.mark.parametrize(
    ("said", "key", "words"),
    [
        ({"framework": "pytorhc"}, "backend.framework.name", "Did you mean `pytorch`?"),
        ({"framework": "tensorflow"}, "backend.framework.name", "huggingface, pytorch"),
        ({"version": "2.88"}, "backend.framework.version", "Did you mean `2.8.0`?"),
        ({"version": "9"}, "backend.framework.version", "There are: 2.14, 2.13, 2.12, 2.11, 2.10.0"),
        ({"version": ""}, "backend.framework.version", "There are: "),
        ({"version": "2.8\n"}, "backend.framework.version", "2.8.0"),
        ({"version": "2.8.0", "python": "3.10"}, "backend.framework.python", "There are: 3.12."),
        ({"version": "2.14", "python": "3.12"}, "backend.framework.python", "Leave it out."),
        ({"transformers": "4.56"}, "backend.framework.transformers", "backend.framework.name=huggingface"),
        (
            {"framework": "huggingface", "version": "2.8", "transformers": "4.99"},
            "backend.framework.transformers",
            "There are: 4.56.2.",
        ),
        ({"framework": "huggingface", "gpu": False}, "backend.framework.name", "backend.framework.name=pytorch"),
        ({"region": "us-east-9"}, "backend.region", "Did you mean `us-east-"),
        ({"region": "eusc-de-east-1", "version": "2.8"}, "backend.region", "backend.image"),
    ],
)
def test_what_does_not_exist_is_a_problem_that_says_what_does(said, key, words):
    found = problem(**said)
    assert found.key == key
    assert words in found.fix
    assert found.what.endswith(".")
    assert len(found.fix) < 400 or key == "backend.region"


# ----------------------------------------------------------------------------------------------------------- recognise


def every_image():
    for row in TABLE["images"]:
        for processor in row["tags"]:
            for region in TABLE["registries"][row["registries"]]:
                yield row, processor, region


def test_every_image_of_the_table_is_found_and_recognised_as_itself():
    for row, processor, region in every_image():
        found = look_up(
            framework=row["framework"],
            version=row["version"],
            python=row["python"],
            transformers=row["transformers"],
            region=region,
            gpu=processor == "gpu",
        )
        assert isinstance(found, Image), (row, region, found)
        assert images.recognise(found.uri) == found


@pytest.mark.parametrize(
    ("tag", "version", "python", "end"),
    [
        ("pytorch-training:2.6.0-gpu-py312-cu126-ubuntu22.04-sagemaker", "2.6.0", "3.12", "2026-01-29"),
        ("pytorch-training:2.6-gpu-py312-cu126-ubuntu22.04-sagemaker-v1", "2.6", "3.12", "2026-01-29"),
        ("pytorch-training:2.6.0-gpu-py312-cu126-ubuntu22.04-v1.8-2025-03-01-10-00-00", "2.6.0", "3.12", "2026-01-29"),
        ("pytorch:2.12.1-cu130-amzn2023-sagemaker", "2.12.1", "3.12", "2027-07-02"),
        ("pytorch-training:3.1.0-gpu-py315", "3.1.0", "3.15", None),
    ],
)
def test_the_long_tags_of_the_release_notes_are_recognised(tag, version, python, end):
    for place in ("763104351884.dkr.ecr.us-west-2.amazonaws.com/", "public.ecr.aws/deep-learning-containers/"):
        found = images.recognise(place + tag)
        assert found is not None
        assert (found.version, found.torch, found.python, found.end_of_life) == (version, version, python, end)
        assert found.gpu


def test_a_digest_behind_the_tag_is_no_hindrance():
    uri = "763104351884.dkr.ecr.us-west-2.amazonaws.com/pytorch-training:2.6.0-cpu-py312@sha256:" + "0" * 64
    found = images.recognise(uri)
    assert found is not None
    assert (found.uri, found.gpu) == (uri, False)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "pytorch-training:2.6.0-gpu-py312",
        "111122223333.dkr.ecr.us-west-2.amazonaws.com/pytorch-training:2.6.0-gpu-py312",
        "763104351884.dkr.ecr.us-west-2.amazonaws.com.cn/pytorch-training:2.6.0-gpu-py312",
        "763104351884.dkr.ecr.us-west-2.evil.example/pytorch-training:2.6.0-gpu-py312",
        "763104351884.dkr.ecr.us-west-2.amazonaws.com/pytorch-training:latest",
        "763104351884.dkr.ecr.us-west-2.amazonaws.com/pytorch-training:2.6.0-gpu-py312\n",
        "763104351884.dkr.ecr.us-west-2.amazonaws.com/pytorch-inference:2.6.0-gpu-py312",
        "763104351884.dkr.ecr.us-west-2.amazonaws.com/pytorch-training-neuronx:2.6.0-neuronx-py310-sdk2.23.0-ubuntu22.04",
        "763104351884.dkr.ecr.us-west-2.amazonaws.com/huggingface-pytorch-training:2.8.0-gpu-py312",
        "public.ecr.aws/somebody/pytorch-training:2.6.0-gpu-py312",
        "111122223333.dkr.ecr.us-west-2.amazonaws.com/mine:1",
    ],
)
def test_any_other_image_is_the_users_own(uri):
    assert images.recognise(uri) is None


# ------------------------------------------------------------------------------------------------------------ problems


def test_an_image_that_has_all_and_is_patched_has_no_problem():
    assert not list(images.problems(image(version="2.10"), LLAMAFACTORY))


def test_an_image_with_an_older_python_and_torch_is_one_error_that_names_what_does():
    old, ended = images.problems(image(version="2.0.1"), LLAMAFACTORY, key="backend.framework.version")
    assert old.severity is Severity.ERROR
    assert old.key == "backend.framework.version"
    assert "Python 3.10, and the program needs Python >=3.11" in old.what
    assert "torch 2.0.1, and the program needs torch >=2.4" in old.what
    assert "2.13, 2.12, 2.11, 2.10.0" in old.fix
    assert "2.3" not in old.fix and "2.14" not in old.fix
    assert ended.severity is Severity.WARNING


def test_torch_alone_may_be_too_old():
    """The image of PyTorch 2.3 has Python 3.11."""
    found = [it for it in images.problems(image(version="2.3"), LLAMAFACTORY) if it.is_error]
    assert len(found) == 1
    assert "torch 2.3.0" in found[0].what and "Python" not in found[0].what


def test_only_versions_that_have_all_are_named():
    needs = Needs(python=">=3.11", packages=(Package(name="torch", specifier=">=2.12"),))
    (found,) = [it for it in images.problems(image(version="2.10"), needs) if it.is_error]
    assert found.fix == "Versions that do: 2.13, 2.12."


def test_2_10_is_newer_than_2_4():
    assert not [it for it in images.problems(image(version="2.10"), LLAMAFACTORY) if it.is_error]


def test_where_no_image_does_the_user_is_told_to_bring_one():
    (found,) = [it for it in images.problems(image(version="2.10"), Needs(python=">=3.99")) if it.is_error]
    assert "of your own" in found.fix


def test_an_image_past_its_end_is_warned_about_as_of_the_tables_date():
    assert TABLE["as_of"] == "2026-10-21"
    (found,) = images.problems(image(version="2.9"), LLAMAFACTORY)
    assert found.severity is Severity.WARNING
    assert "2026-10-15" in found.what
    assert "as of 2026-10-21: 2.14, 2.13, 2.12, 2.11, 2.10.0." in found.fix


def test_what_is_unknown_of_an_image_is_not_held_against_it():
    assert image(version="2.14").python is None
    assert not list(images.problems(image(version="2.14"), LLAMAFACTORY))


# ----------------------------------------------------------------------------------------------------------- the table


def test_the_table_is_dated_and_its_parts_fit_together():
    date.fromisoformat(TABLE["as_of"])
    date.fromisoformat(TABLE["end_of_patch"]["as_of"])
    assert TABLE["source"] and TABLE["end_of_patch"]["source"]
    for end in TABLE["end_of_patch"]["pytorch"].values():
        date.fromisoformat(end)
    assert {row["registries"] for row in TABLE["images"]} == set(TABLE["registries"])


def test_the_registries_domains_are_botocores():
    regions = pytest.importorskip("botocore.regions")
    loaders = pytest.importorskip("botocore.loaders")
    resolver = regions.EndpointResolver(loaders.Loader().load_data("endpoints"))
    for region in {region for accounts in TABLE["registries"].values() for region in accounts}:
        endpoint = resolver.construct_endpoint("ecr", region) or {}
        if "hostname" in endpoint:
            assert endpoint["hostname"].removeprefix("api.") == f"ecr.{region}.{images._domain(region)}"


def test_the_generator_makes_the_table_of_a_wheel(tmp_path):
    """A wheel with one version in each of the three files, laid out as AWS's SDK lays them out."""
    accounts = {"us-east-1": "763104351884"}
    configs = {
        "pytorch": {
            "2.8.0": {"py_versions": ["py3", "py312"], "registries": accounts, "repository": "pytorch-training"},
            "1.12.1": {"py_versions": ["py38"], "registries": accounts, "repository": "pytorch-training"},
            "2.0.0": {"py_versions": ["py310"], "registries": accounts, "repository": "something-else"},
        },
        "pytorch-amzn2023": {
            "2.13": {
                "container_version": {"cpu": "cpu-amzn2023-sagemaker", "gpu": "cu133-amzn2023-sagemaker"},
                "processor_in_tag": False,
                "registries": accounts,
                "repository": "pytorch",
                "tag_prefix": "2.13",
            }
        },
        "huggingface": {
            "5.3.0": {
                "version_aliases": {"pytorch2.9": "pytorch2.9.0"},
                "pytorch2.9.0": {
                    "py_versions": ["py312"],
                    "registries": accounts,
                    "repository": "huggingface-pytorch-training",
                    "container_version": {"gpu": "cu130-ubuntu22.04"},
                },
                "tensorflow2.4.1": {"py_versions": ["py37"], "registries": accounts, "repository": "x"},
            }
        },
    }
    wheel = tmp_path / "sdk.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, versions in configs.items():
            processors = ["gpu"] if name == "huggingface" else ["cpu", "gpu"]
            info = zipfile.ZipInfo(f"sagemaker/core/image_uri_config/{name}.json", (2026, 10, 21, 0, 0, 0))
            archive.writestr(info, json.dumps({"training": {"processors": processors, "versions": versions}}))
    printed = subprocess.run(
        [sys.executable, FOLDER / "generate_images.py", wheel], capture_output=True, check=True, text=True
    ).stdout
    made = json.loads(printed)
    assert (made["as_of"], made["source"]) == ("2026-10-21", "image_uri_config of sdk.whl")
    assert made["registries"] == {"accounts1": accounts}
    assert made["domains"] == TABLE["domains"]
    assert made["end_of_patch"] == TABLE["end_of_patch"]
    committed = {(row["framework"], row["version"], row["transformers"]): row for row in TABLE["images"]}
    assert [row["version"] for row in made["images"]] == ["2.8.0", "2.13", "2.9.0"]
    for row in made["images"]:
        same = committed[row["framework"], row["version"], row["transformers"]]
        assert {**row, "registries": ""} == {**same, "registries": ""}
