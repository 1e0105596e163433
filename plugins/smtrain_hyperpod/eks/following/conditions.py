"""What an operator says of a job in `status.conditions`, and what Kubernetes says of its pods."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from smtrain.plugin import Json, State

ENDS: Mapping[str, State] = {
    "Succeeded": State.SUCCEEDED,
    "Completed": State.SUCCEEDED,
    "Complete": State.SUCCEEDED,
    "Failed": State.FAILED,
}
"""Condition → state; every other one is on the way. Kubeflow says Succeeded, HyperPod Completed."""

PEER_LOST, SIGTERM, SIGKILL = 75, 143, 137
CONSEQUENCES = (PEER_LOST, SIGTERM, SIGKILL)
"""Exit codes of pods that ended because another one did."""

_EXITED = re.compile(r"exited with code (-?\d+)")
_SIGNALS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A container that failed.

    Attributes:
      pod: its pod.
      node: where that was.
      exit_code: of the container.
      message: what it left behind as the reason.
      when: RFC 3339.
    """

    pod: str
    node: str
    exit_code: int
    message: str
    when: str


def state(job: Mapping[str, Json]) -> State:
    """Returns the state that a job is in; one that is being deleted has been stopped."""
    if _object(job.get("metadata")).get("deletionTimestamp"):
        return State.STOPPED
    last = latest(job)
    return ENDS.get(str(last.get("type")), State.RUNNING)


def latest(job: Mapping[str, Json]) -> Mapping[str, Json]:
    """Returns the last condition that holds; an empty one when none does."""
    holding = [each for each in _objects(_object(job.get("status")).get("conditions")) if each.get("status") == "True"]
    return holding[-1] if holding else {}


def seconds(when: Json) -> float | None:
    """Returns the POSIX seconds of a time as Kubernetes writes it; None for anything else."""
    try:
        return datetime.fromisoformat(str(when).replace("Z", "+00:00")).timestamp() if when else None
    except ValueError:
        return None


def exit_code(text: str) -> int | None:
    """Returns the exit code that HyperPod's operator tells in words.

    Its agent has the status of waitpid(2) there, negated: 3 is told as -768, the signal 9 as -9.
    Source: PyPI hyperpod-elastic-agent 1.1.3, pcontext/pcontext.py.
    """
    found = _EXITED.findall(text)
    if not found:
        return None
    code = int(found[-1])
    if code >= 0:
        return code
    return -code >> 8 if -code >= 1 << 8 else _SIGNALS - code


def failed(pods: Iterable[Mapping[str, Json]]) -> Ended | None:
    """Returns the container whose end is the likeliest cause: the first that did not end for want of another."""
    ended = sorted(_failures(pods), key=lambda each: each.when)
    causes = [each for each in ended if each.exit_code not in CONSEQUENCES]
    return next(iter(causes or ended), None)


def waiting(pods: Iterable[Mapping[str, Json]]) -> Iterator[str]:
    """Yields why pods do not run yet, in Kubernetes' words."""
    for pod in pods:
        status = _object(pod.get("status"))
        for condition in _objects(status.get("conditions")):
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                yield f"{condition.get('reason')}: {condition.get('message')}"
        for container in (*_objects(status.get("initContainerStatuses")), *_objects(status.get("containerStatuses"))):
            held = _object(_object(container.get("state")).get("waiting"))
            reason, message = held.get("reason"), held.get("message")
            if reason:
                yield f"{reason}: {message}" if message else str(reason)


def name_of(pod: Mapping[str, Json]) -> str:
    """Returns the name of a pod."""
    return str(_object(pod.get("metadata")).get("name"))


def phase_of(pod: Mapping[str, Json]) -> str:
    """Returns the phase of a pod: Pending, Running, Succeeded, Failed, Unknown."""
    return str(_object(pod.get("status")).get("phase"))


def restarts_of(pod: Mapping[str, Json]) -> int:
    """Returns how often the containers of a pod were started anew."""
    statuses = _objects(_object(pod.get("status")).get("containerStatuses"))
    return sum(int(str(each.get("restartCount") or 0)) for each in statuses)


def has_log(pod: Mapping[str, Json]) -> bool:
    """Whether a container of a pod has been started, so that there is a log of it."""
    statuses = _objects(_object(pod.get("status")).get("containerStatuses"))
    return any({"running", "terminated"} & set(_object(each.get("state"))) for each in statuses)


def is_running(pod: Mapping[str, Json]) -> bool:
    """Whether a container of a pod runs."""
    statuses = _objects(_object(pod.get("status")).get("containerStatuses"))
    return any("running" in _object(each.get("state")) for each in statuses)


def _failures(pods: Iterable[Mapping[str, Json]]) -> Iterator[Ended]:
    for pod in pods:
        for container in _objects(_object(pod.get("status")).get("containerStatuses")):
            for member in ("state", "lastState"):
                ended = _object(_object(container.get(member)).get("terminated"))
                if ended.get("exitCode"):
                    yield Ended(
                        pod=name_of(pod),
                        node=str(_object(pod.get("spec")).get("nodeName") or ""),
                        exit_code=int(str(ended["exitCode"])),
                        message=str(ended.get("message") or ended.get("reason") or "").strip(),
                        when=str(ended.get("finishedAt") or ""),
                    )


def _object(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def _objects(value: Json) -> list[dict[str, Json]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
