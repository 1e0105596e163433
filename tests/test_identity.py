"""A bundle is told its run's id, which follows from the bundle's own content."""

from __future__ import annotations

from dataclasses import replace

import pytest

from smtrain import actions
from smtrain.manifest import identified, manifest_of, render
from smtrain.spec import RUN_ID, ApiCall, Bundle, BundleFile, Cost, Exec, Expect, HandOver, Probe, State, Upload

ACTIONS = (
    Expect(uris=("s3://bucket/model", "s3://bucket/rows.jsonl"), region="us-east-1"),
    Upload(uri="s3://bucket/store/0123/", files=(("launch.sh", "launch.sh"), ("inputs/a b", "a b")), kms_key="alias/k"),
    ApiCall(
        service="sagemaker",
        operation="CreateTrainingJob",
        request="request.json",
        name="TrainingJobName",
        taken="ResourceInUse",
        probe=Probe(operation="DescribeTrainingJob", status="TrainingJobStatus", states={"Failed": State.FAILED}),
        region="us-east-1",
    ),
    HandOver(document="target.json", summary=f"sbatch job.sbatch as {RUN_ID}"),
    Exec(argv=("kubectl", "apply", "-f", RUN_ID)),
)


def bundle(text: str = f'{{"TrainingJobName": "{RUN_ID}"}}') -> Bundle:
    return Bundle(
        name="run",
        backend="b",
        trainer="t",
        files=(BundleFile(path="request.json", content=text.encode()),),
        actions=ACTIONS,
        cost=Cost(usd_per_hour=1.5, max_hours=24.0, basis="a list"),
        facts=(("results", f"s3://bucket/{RUN_ID}/"),),
    )


def test_the_id_stands_in_files_actions_and_facts() -> None:
    told, run_id = identified(bundle())
    assert run_id.startswith("run-")
    assert told.files[0].content == f'{{"TrainingJobName": "{run_id}"}}'.encode()
    assert told.actions[-1] == Exec(argv=("kubectl", "apply", "-f", run_id))
    assert told.facts == (("results", f"s3://bucket/{run_id}/"),)
    assert told.actions[-2] == HandOver(document="target.json", summary=f"sbatch job.sbatch as {run_id}")
    assert told.actions[:-2] == ACTIONS[:-2]


def test_another_attempt_has_the_same_digest_and_a_number() -> None:
    _, first = identified(bundle())
    told, second = identified(bundle(), attempt=2)
    assert second == f"{first}-2"
    assert told.files[0].content == f'{{"TrainingJobName": "{first}-2"}}'.encode()


def test_what_is_done_with_a_bundle_is_part_of_its_digest() -> None:
    other = replace(bundle(), actions=(*ACTIONS[:1], replace(ACTIONS[1], uri="s3://other/store/0123/"), *ACTIONS[2:]))
    assert identified(other)[1] != identified(bundle())[1]


def test_what_a_plan_says_is_not() -> None:
    assert identified(replace(bundle(), facts=(), cost=None))[1] == identified(bundle())[1]


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_is_read_as_it_was_written(action: actions.Action) -> None:
    assert actions.from_json(actions.as_json(action)) == action
    assert actions.as_text(action)


@pytest.mark.parametrize("document", [{}, {"do": "dance"}, {"do": "upload"}, {"do": "exec", "argv": "rm -rf"}])
def test_what_is_no_action_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        actions.from_json(document)  # type: ignore[arg-type]  # what a damaged manifest holds


def test_a_manifest_has_the_cost() -> None:
    told, run_id = identified(bundle())
    assert '"usd_per_hour": 1.5' in render(manifest_of(told, run_id, {}))
