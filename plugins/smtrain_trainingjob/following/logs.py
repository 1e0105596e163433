"""The output of a training job: CloudWatch Logs has one stream a host, merged here by time."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from smtrain.plugin import LogLine, Receipt, State, aws
from smtrain_trainingjob.following import submitted
from smtrain_trainingjob.following.status import STATES, describe, transitions

GROUP = "/aws/sagemaker/TrainingJobs"
POLL_S = (2.0, 5.0)
"""Seconds between two looks: while lines come, and after a while without any."""

_NOT_YET = "ResourceNotFoundException"
_Event = tuple[int, str, str]  # milliseconds, host, text


def lines(
    run_dir: Path,
    receipt: Receipt,
    *,
    follow: bool,
    every_try: bool = False,
    poll_s: tuple[float, float] = POLL_S,
) -> Iterator[LogLine]:
    """Yields the lines of all hosts, in the order of their times.

    Args:
      run_dir: the run's folder.
      receipt: its receipt.
      follow: go on until the job has ended; the stages that it goes through are told as lines of smtrain's own.
      every_try: begin with the earlier tries of the run, if there were any.
      poll_s: the shortest and the longest time between two looks.

    Raises:
      SmtrainError: AWS refused, or cannot be reached.
    """
    job = submitted.read(run_dir, receipt)
    client = aws.Client("logs", job.region)
    earlier = [name for name in job.names if name != job.job] if every_try else []
    for name in earlier:
        yield from _shown(_Streams(client, name).read(), hosts=job.hosts)
    streams = _Streams(client, job.job)
    if follow and receipt.state is State.RUNNING:
        for line in _following(streams, aws.Client("sagemaker", job.region), poll_s):
            yield line if isinstance(line, LogLine) else _line(line, job.hosts)
    else:
        yield from _shown(streams.read(), hosts=job.hosts)


def _following(streams: _Streams, sagemaker: aws.Client, poll_s: tuple[float, float]) -> Iterator[LogLine | _Event]:
    told, pause = 0, poll_s[0]
    while True:
        description = describe(sagemaker, streams.job) or {}
        ended = STATES.get(str(description.get("TrainingJobStatus"))) is not State.RUNNING
        stages = transitions(description)
        for name, message in stages[told:]:
            yield LogLine(text=f"smtrain: {name}: {message}".rstrip(": "))
        told = max(told, len(stages))
        found = list(streams.read())
        yield from found
        # What a host wrote last may come to CloudWatch after the job's end: until a look finds nothing more.
        if ended and not found:
            return
        pause = poll_s[0] if found else min(pause * 1.5, poll_s[1])
        time.sleep(pause)


@dataclass(slots=True)
class _Streams:
    """The streams of one job, each read once.

    Attributes:
      client: of CloudWatch Logs.
      job: the job's name.
    """

    client: aws.Client
    job: str
    _tokens: dict[str, str] = field(default_factory=dict)

    def read(self) -> Iterator[_Event]:
        """Yields what is new in all streams, in the order of its times."""
        # A host that comes late has its stream later.
        return heapq.merge(*(self._events(name) for name in self._names()), key=lambda event: event[0])

    def _names(self) -> tuple[str, ...]:
        # The slash keeps out the streams of a job whose name begins with this one.
        found = self.client.pages("DescribeLogStreams", logGroupName=GROUP, logStreamNamePrefix=f"{self.job}/")
        try:
            return tuple(str(row["logStreamName"]) for page in found for row in _rows(page.get("logStreams")))
        except aws.RefusedError as error:
            if error.error_code == _NOT_YET:
                return ()
            raise

    def _events(self, stream: str) -> Iterator[_Event]:
        host = stream.partition("/")[2].rpartition("-")[0] or stream
        while True:
            token = self._tokens.get(stream)
            page = self._page(stream, token)
            for event in _rows(page.get("events")):
                yield int(str(event["timestamp"])), host, str(event["message"])
            after = str(page.get("nextForwardToken") or "")
            # At the end the token stays the same; an empty page alone does not mean the end (API_GetLogEvents).
            if not after or after == token:
                return
            self._tokens[stream] = after

    def _page(self, stream: str, token: str | None) -> dict[str, object]:
        onward = {"nextToken": token} if token else {}
        try:
            answer = self.client.call(
                "GetLogEvents", logGroupName=GROUP, logStreamName=stream, startFromHead=True, **onward
            )
        except aws.RefusedError as error:
            if error.error_code == _NOT_YET:
                return {}
            raise
        return dict(answer)


def _shown(events: Iterable[_Event], *, hosts: int) -> Iterator[LogLine]:
    for event in events:
        yield _line(event, hosts)


def _line(event: _Event, hosts: int) -> LogLine:
    _, host, text = event
    # A progress bar redraws its line after each carriage return: the last drawing is what a terminal would show.
    drawn = [part for part in text.rstrip("\r\n").split("\r") if part]
    return LogLine(text=drawn[-1] if drawn else "", host=host if hosts > 1 else "")


def _rows(value: object) -> list[dict[str, object]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []
