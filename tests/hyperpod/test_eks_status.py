"""What the cluster says of a job and its pods is told as a state, a stage, a reason and an exit code."""

from __future__ import annotations

from dataclasses import replace

import pytest
from smtrain_hyperpod.eks.following import conditions, logs, status
from smtrain_hyperpod.eks.submission import Submission

from smtrain.spec import Json, Receipt, State

SUBMITTED = Submission(
    kind="PyTorchJob",
    resource="pytorchjobs.kubeflow.org",
    context="",
    namespace="",
    config_maps=(),
    output_uri="s3://bucket/runs/run-0123456789",
    output_folder="",
    region="",
    nodes=2,
    grace_s=150,
    longest_name=54,
    usd_per_hour=36.0,
    in_place=(),
    progress="",
)
RUN = Receipt(run_id="run-0123456789", backend="hyperpod_eks", state=State.RUNNING, started=0.0, job="run-0123456789")
BEGAN, ENDED = "2026-11-29T01:00:00Z", "2026-11-29T02:30:00Z"


def job(*said: tuple[str, str], message: str = "", deleted: bool = False) -> dict[str, Json]:
    """Returns a job with these conditions, as Kubeflow's operator writes them."""
    found: list[Json] = [
        {"type": kind, "status": holds, "reason": f"PyTorchJob{kind}", "message": message, "lastTransitionTime": ENDED}
        for kind, holds in said
    ]
    ended = {"completionTime": ENDED} if ("Succeeded", "True") in said else {}
    deletion: dict[str, Json] = {"deletionTimestamp": ENDED} if deleted else {}
    return {
        "kind": "PyTorchJob",
        "metadata": {"name": "run-0123456789", **deletion},
        "status": {"conditions": found, "startTime": BEGAN, **ended},
    }


def pod(name: str, *, node: str = "node-a", **state: Json) -> dict[str, Json]:
    """Returns a pod whose container is in a state."""
    container: Json = {"name": "pytorch", "restartCount": 0, "state": state}
    return {
        "metadata": {"name": name},
        "spec": {"nodeName": node},
        "status": {"phase": "Running", "containerStatuses": [container]},
    }


def ended(code: int, when: str, message: str = "") -> Json:
    return {"exitCode": code, "reason": "Error", "finishedAt": when, "message": message}


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ([], State.RUNNING),
        ([("Created", "True")], State.RUNNING),
        ([("Created", "True"), ("Running", "True")], State.RUNNING),
        ([("Created", "True"), ("Running", "False"), ("Restarting", "True")], State.RUNNING),
        ([("Created", "True"), ("Suspended", "True")], State.RUNNING),
        ([("Created", "True"), ("Running", "False"), ("Succeeded", "True")], State.SUCCEEDED),
        ([("Created", "True"), ("Running", "False"), ("Completed", "True")], State.SUCCEEDED),
        ([("Created", "True"), ("Running", "False"), ("Failed", "True")], State.FAILED),
        ([("Failed", "False"), ("Running", "True")], State.RUNNING),
        ([("SomethingNew", "True")], State.RUNNING),
    ],
)
def test_the_last_condition_that_holds_is_the_state(said: list[tuple[str, str]], state: State) -> None:
    assert conditions.state(job(*said)) is state


def test_a_job_that_is_being_deleted_was_stopped() -> None:
    assert conditions.state(job(("Running", "True"), deleted=True)) is State.STOPPED


def test_a_job_that_succeeded_has_its_times_its_cost_and_exit_code_0() -> None:
    now = status.as_receipt(RUN, job(("Succeeded", "True")), [], SUBMITTED, now=0.0)
    assert (now.state, now.exit_code, now.hosts) == (State.SUCCEEDED, 0, 2)
    assert now.ended is not None
    assert now.ended - now.started == 90 * 60
    assert now.usd == pytest.approx(54.0)
    assert status.as_receipt(RUN, job(), [], replace(SUBMITTED, usd_per_hour=None), now=0.0).usd is None


def test_a_failed_job_tells_the_pod_its_node_its_words_and_its_exit_code() -> None:
    pods = [
        pod("run-master-0", terminated=ended(75, "2026-11-29T02:29:00Z", "node 1 is lost")),
        pod("run-worker-0", node="node-b", terminated=ended(3, "2026-11-29T02:29:30Z", "step train failed")),
    ]
    now = status.as_receipt(RUN, job(("Failed", "True"), message="PyTorchJob run failed"), pods, SUBMITTED, now=0.0)
    assert (now.state, now.exit_code) == (State.FAILED, 3)
    assert now.reason == "run-worker-0 on node-b: step train failed"


def test_a_pod_that_ended_for_want_of_another_is_the_cause_only_when_there_is_no_other() -> None:
    lost = [pod("a", terminated=ended(75, "2026-11-29T02:29:00Z", "node 1 is lost"))]
    cause = conditions.failed(lost)
    assert cause is not None
    assert cause.exit_code == 75
    assert conditions.failed([pod("a", running={"startedAt": BEGAN})]) is None


def test_a_container_that_was_started_anew_tells_of_its_last_end() -> None:
    again = pod("a", running={"startedAt": BEGAN})
    again["status"]["containerStatuses"][0]["lastState"] = {"terminated": ended(9, ENDED, "out of luck")}  # type: ignore[index,call-overload]
    cause = conditions.failed([again])
    assert cause is not None
    assert cause.message == "out of luck"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("Local Rank 0 exited with code -768 due to: Signal 768 (<N/A>) received by PID 32232", 3),
        ("Local Rank 0 exited with code -9 due to: Signal 9 (SIGKILL) received by PID 12", 137),
        ("Local Rank 0 exited with code 1 due to: …", 1),
        ("The job was evicted", None),
    ],
)
def test_the_exit_code_is_read_off_the_words_of_hyperpods_agent(words: str, code: int | None) -> None:
    assert conditions.exit_code(words) == code


def test_what_pods_wait_for_is_the_stage() -> None:
    unschedulable = pod("a")
    message = "0/4 nodes are available: 4 Insufficient nvidia.com/gpu."
    unschedulable["status"] = {
        "phase": "Pending",
        "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message},
        ],
    }
    now = status.as_receipt(RUN, job(("Created", "True")), [unschedulable], SUBMITTED, now=0.0)
    assert now.step == f"Created; Unschedulable: {message}"
    unpulled = pod("b", waiting={"reason": "ImagePullBackOff", "message": 'Back-off pulling image "nowhere:1"'})
    assert list(conditions.waiting([unpulled])) == ['ImagePullBackOff: Back-off pulling image "nowhere:1"']


def test_a_line_is_shown_as_a_terminal_shows_it_without_hyperpodruns_prefix() -> None:
    assert logs.last_drawn("[default0]:  10%|#\r 20%|##\r\n") == " 20%|##"
    assert logs.last_drawn("plain\n") == "plain"
    assert logs.last_drawn("\n") == ""
