"""The output of a job: one stream a pod, merged here by time, or as it comes."""

from __future__ import annotations

import heapq
import queue
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from smtrain.plugin import Json, LogLine, Receipt, SmtrainError, State
from smtrain_hyperpod.eks import kubectl, submission
from smtrain_hyperpod.eks.container import NAME
from smtrain_hyperpod.eks.following import conditions, status
from smtrain_hyperpod.eks.kubectl import Kubectl
from smtrain_hyperpod.eks.pod import JOB_LABEL

POLL_S = 3.0
"""Seconds between two looks at which pods there are, and whether the job has ended."""

_KEPT = "logs/pods"
"""Folder of the run with the logs of pods that are gone, one file a pod."""


def lines(run_dir: Path, receipt: Receipt, *, follow: bool, poll_s: float = POLL_S) -> Iterator[LogLine]:
    """Yields the lines of all pods; with `follow`, until the job has ended.

    Args:
      run_dir: the run's folder.
      receipt: its receipt.
      follow: go on; the stages that the job goes through are told as lines of smtrain's own.
      poll_s: seconds between two looks.

    Raises:
      SmtrainError: the cluster refused, or cannot be reached.
    """
    submitted = submission.read(run_dir, receipt)
    cluster, name = kubectl.of(submitted), receipt.job or receipt.run_id
    several = submitted.nodes > 1
    if follow and receipt.state is State.RUNNING:
        found = _following(cluster, submitted.resource, name, poll_s)
    else:
        pods = cluster.items("pods", f"--selector={JOB_LABEL}={name}")
        found = _written(cluster, pods) if pods else kept(run_dir)
    for line in found:
        yield line if several or not line.host else LogLine(text=line.text)


def kept(run_dir: Path) -> Iterator[LogLine]:
    """Yields the lines of pods that are gone, as they were kept when the job was stopped."""
    for path in sorted((run_dir / _KEPT).glob("*.log")):
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
            yield LogLine(text=text, host=path.stem)


def keep(run_dir: Path, line: LogLine) -> None:
    """Keeps a line of a pod that is about to go."""
    if not line.host:
        return
    folder = run_dir / _KEPT
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{line.host}.log").open("a", encoding="utf-8") as file:
        file.write(f"{line.text}\n")


@dataclass(slots=True)
class _Stream:
    """The log of one life of a pod's container.

    Attributes:
      pod: its name.
      process: kubectl, which prints it.
      last: time of the last line, RFC 3339.
      over: whether kubectl has ended, because the container has, or because the connection broke.
    """

    pod: str
    process: subprocess.Popen[str]
    last: str
    over: bool = False


class Streams:
    """The logs of a job's pods, each followed from its beginning."""

    def __init__(self, cluster: Kubectl, job: str) -> None:
        """Follows nothing yet."""
        self._cluster = cluster
        self._job = job
        self._lines: queue.SimpleQueue[LogLine | _Stream] = queue.SimpleQueue()
        self._streams: dict[tuple[str, int], _Stream] = {}

    def look(self) -> list[str]:
        """Begins to follow what was started since the last look, or whose connection broke; returns the pods' names."""
        pods = status.pods(self._cluster, self._job)
        for pod in pods:
            life = (conditions.name_of(pod), conditions.restarts_of(pod))
            known = self._streams.get(life)
            if known is None and conditions.has_log(pod):
                self._streams[life] = self._follow(life[0], "")
            elif known is not None and known.over and conditions.is_running(pod):
                self._streams[life] = self._follow(life[0], known.last)
        return [conditions.name_of(pod) for pod in pods]

    def new(self, timeout_s: float) -> Iterator[LogLine]:
        """Yields the lines that come within that many seconds."""
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0 or not self._lines.empty():
            try:
                line = self._lines.get(timeout=max(left, 0.001))
            except queue.Empty:
                return
            if isinstance(line, _Stream):
                line.over = True
            else:
                yield line

    @property
    def ended(self) -> bool:
        """Whether every stream has ended, and all of its lines were taken."""
        return all(stream.over for stream in self._streams.values()) and self._lines.empty()

    def close(self) -> None:
        """Ends all streams."""
        for stream in self._streams.values():
            stream.process.kill()
            stream.process.wait()

    def _follow(self, pod: str, since: str) -> _Stream:
        words = ("logs", pod, f"--container={NAME}", "--follow", "--timestamps")
        process = self._cluster.stream(*words, f"--since-time={since}" if since else "--tail=-1")
        stream = _Stream(pod, process, since)
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()
        return stream

    def _read(self, stream: _Stream) -> None:
        with kubectl.lines(stream.process.stdout) as pipe:
            for line in pipe:
                when, _, text = line.partition(" ")
                if when > stream.last:
                    stream.last = when
                    self._lines.put(LogLine(text=last_drawn(text), host=stream.pod))
        stream.process.wait()
        self._lines.put(stream)


def last_drawn(text: str) -> str:
    """Returns a line as a terminal would show it: a progress bar redraws it after each carriage return."""
    # hyperpodrun puts the process's place in front, of which there is one.
    drawn = [part for part in text.rstrip("\r\n").removeprefix("[default0]:").split("\r") if part]
    return drawn[-1] if drawn else ""


def _following(cluster: Kubectl, resource: str, name: str, poll_s: float) -> Iterator[LogLine]:
    streams, told = Streams(cluster, name), ""
    try:
        while True:
            job = cluster.get(resource, name)
            ended = job is None or conditions.state(job) is not State.RUNNING
            stage = _stage(cluster, job, name) if job is not None else "the job is gone"
            if stage != told:
                yield LogLine(text=f"smtrain: {stage}")
                told = stage
            streams.look()
            yield from streams.new(poll_s if not ended else min(poll_s, 1.0))
            # Pods that are kept have ended with the job, and so have their streams.
            if ended and (streams.ended or job is None):
                return
            if ended:
                yield from streams.new(poll_s)
                return
    finally:
        streams.close()


def _stage(cluster: Kubectl, job: dict[str, Json], name: str) -> str:
    found = conditions.latest(job)
    waiting = list(dict.fromkeys(conditions.waiting(status.pods(cluster, name))))
    words = str(found.get("type") or "Created")
    return f"{words}: {waiting[0]}" if waiting else words


def _written(cluster: Kubectl, pods: list[dict[str, Json]]) -> Iterator[LogLine]:
    """Yields what pods have written so far, by time; before a container that was started anew, its last life."""
    streams = [
        _of_pod(cluster, conditions.name_of(pod), previous=previous)
        for pod in pods
        if conditions.has_log(pod)
        for previous in ((True, False) if conditions.restarts_of(pod) else (False,))
    ]
    for _, host, text in heapq.merge(*streams, key=lambda line: line[0]):
        yield LogLine(text=last_drawn(text), host=host)


def _of_pod(cluster: Kubectl, pod: str, *, previous: bool) -> Iterator[tuple[str, str, str]]:
    words = (
        "logs",
        pod,
        f"--container={NAME}",
        "--timestamps",
        "--tail=-1",
        *(("--previous",) if previous else ()),
    )
    try:
        text = cluster.run(*words)
    except SmtrainError:
        if previous:  # its node has thrown it away
            return
        raise
    for line in text.splitlines():
        when, _, rest = line.partition(" ")
        yield when, pod, rest
