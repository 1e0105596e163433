"""Every manifest passes the operators' own schemas, and what they would refuse is found before it is sent."""

from __future__ import annotations

import copy
import functools
import json
from importlib import resources
from pathlib import Path
from typing import cast

import pytest
import yaml
from eks_jobs import JOB, at
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from msgspec import convert
from smtrain_hyperpod.eks import config_maps, operators, yaml_text
from smtrain_hyperpod.eks.options import EksOptions

from smtrain.spec import BundleFile, Job, Json
from smtrain.testing import compile_overrides

SCHEMAS = resources.files("smtrain_schemas") / "k8s"
FILES = {"HyperPodPyTorchJob": "hyperpodpytorchjob-v1.json", "PyTorchJob": "pytorchjob-v1.json"}


@functools.cache
def schema(kind: str) -> dict[str, Json]:
    return cast("dict[str, Json]", json.loads((SCHEMAS / FILES[kind]).read_text()))


def refusals(manifest: dict[str, Json]) -> list[str]:
    validator = Draft202012Validator(schema(str(manifest["kind"])))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(manifest)]


def job(*overrides: str) -> dict[str, Json]:
    found = {file.path: file.content for file in compile_overrides((*JOB, "strategy=ddp", *overrides)).bundle.files}
    return cast("dict[str, Json]", yaml.safe_load(cast("bytes", found["job.yaml"])))


@pytest.mark.parametrize("kind", FILES)
def test_a_schema_says_what_it_was_made_of(kind: str) -> None:
    assert "sagemaker-hyperpod 3.12.0" in str(schema(kind)["$comment"]) or "v1.9.4" in str(schema(kind)["$comment"])
    Draft202012Validator.check_schema(schema(kind))


def some(**members: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    """Any of the members, and any number of them."""
    return st.fixed_dictionaries({}, optional=members)


TEXT = st.text(min_size=1, max_size=8)
NUMBER = st.integers(1, 100)
OPTIONS = some(
    pull_policy=st.sampled_from(("Always", "IfNotPresent", "Never")),
    pull_secrets=st.lists(TEXT, max_size=2),
    service_account=TEXT,
    vcpus=st.floats(0.1, 100),
    memory_gib=NUMBER,
    hugepages_mib=NUMBER,
    efa=st.integers(0, 32),
    node_selector=st.dictionaries(TEXT, TEXT, max_size=2),
    tolerations=st.lists(some(key=TEXT, value=TEXT, effect=st.just("NoSchedule")), max_size=2),
    deep_health_checked=st.booleans(),
    host_network=st.booleans(),
    priority_class=TEXT,
    scheduler=TEXT,
    kueue=some(queue=TEXT, priority=TEXT, preferred_topology=TEXT, required_topology=TEXT),
    labels=st.dictionaries(TEXT, TEXT, max_size=2),
    annotations=st.dictionaries(TEXT, TEXT, max_size=2),
    volumes=st.dictionaries(
        TEXT,
        st.one_of(
            st.fixed_dictionaries({"path": st.just("/a"), "claim": TEXT}, optional={"sub_path": TEXT}),
            st.fixed_dictionaries(
                {"path": st.just("/a"), "host_path": st.just("/b")}, optional={"read_only": st.booleans()}
            ),
        ),
        max_size=2,
    ),
    scratch=some(host_path=st.just("/nvme"), size_gib=NUMBER),
    shm_gib=NUMBER,
    environment=st.dictionaries(st.sampled_from(("A", "B_C")), st.one_of(TEXT, st.integers())),
    secrets=st.dictionaries(st.sampled_from(("D", "E")), st.just("secret/key")),
    restarts=some(
        max=st.integers(0, 9),
        policy=st.sampled_from(("Never", "OnFailure", "Always", "ExitCode")),
        before_full=NUMBER,
        max_full=st.integers(0, 9),
    ),
    spares=st.integers(0, 2),
    elastic=st.fixed_dictionaries(
        {"min_nodes": NUMBER, "max_nodes": NUMBER},
        optional={"step": NUMBER, "values": st.lists(NUMBER), "scaling_timeout_s": NUMBER, "snooze_s": NUMBER},
    ),
    log_rules=st.dictionaries(
        TEXT,
        st.fixed_dictionaries(
            {"pattern": TEXT}, optional={"every_s": NUMBER, "threshold": st.integers(), "operator": st.just("gt")}
        ),
        max_size=2,
    ),
    max_run_s=NUMBER,
    keep_pods=st.booleans(),
    keep_s=st.one_of(st.none(), NUMBER),
    hyperpod=st.booleans(),
)


@functools.cache
def a_job(nodes: int) -> Job:
    return compile_overrides((*JOB, "strategy=ddp", f"compute.nodes={nodes}")).job


@settings(max_examples=100)
@given(given_=OPTIONS, operator=st.sampled_from(("hyperpod", "kubeflow")), nodes=st.sampled_from((1, 2, 16)))
def test_every_combination_of_options_passes_the_operators_schema(
    given_: dict[str, object], operator: str, nodes: int
) -> None:
    options = convert({"image": "image:1", "operator": operator, **given_}, EksOptions)
    maps = config_maps.of_run((BundleFile(path="launch.sh", content=b""),))
    found = operators.of(options).manifest(a_job(nodes), options, maps)
    text = yaml_text.render(found, comment="")
    assert yaml.safe_load(text) == found
    assert refusals(found) == []


@pytest.mark.parametrize("operator", ["hyperpod", "kubeflow"])
def test_a_member_that_the_operator_does_not_know_is_refused(operator: str) -> None:
    found = job(f"backend.operator={operator}")
    assert refusals(found) == []
    for path in (("spec",), ("spec", "runPolicy"), ("metadata",)):
        broken = copy.deepcopy(found)
        cast("dict[str, Json]", at(broken, *path))["unheardOf"] = 1
        assert len(refusals(broken)) == 1, path


@pytest.mark.parametrize("operator", ["hyperpod", "kubeflow"])
def test_a_member_of_the_wrong_type_is_refused(operator: str) -> None:
    found = job(f"backend.operator={operator}")
    replicas = at(found, "spec", "replicaSpecs", 0) or at(found, "spec", "pytorchReplicaSpecs", "Master")
    cast("dict[str, Json]", replicas)["replicas"] = "two"
    assert len(refusals(found)) == 1


def test_the_shipped_schemas_are_in_the_package() -> None:
    root = Path(__file__).parents[2] / "schemas" / "k8s"
    assert {path.name for path in root.glob("*.json")} == set(FILES.values())
