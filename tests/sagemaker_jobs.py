"""How the SageMaker service of the tests executes a job: channels, logs, metrics, checkpoints, artifacts, its end."""

from __future__ import annotations

import math
import re
import threading
import time
import traceback
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from sagemaker_model import output_members
from smtrain_trainingjob.rehearsal.channel import TransferFailed, path_below
from smtrain_trainingjob.rehearsal.engine import JobRun
from smtrain_trainingjob.rehearsal.isolation import Isolation
from smtrain_trainingjob.rehearsal.outcome import Phase, Status, Transition

ACCOUNT = "123456789012"  # moto's
REGION = "us-east-1"
LOG_GROUP = "/aws/sagemaker/TrainingJobs"

_LAST = frozenset({Phase.COMPLETED, Phase.FAILED, Phase.STOPPED, Phase.MAX_RUNTIME_EXCEEDED})


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What all jobs of a service have in common.

    Attributes:
      folder: where jobs have their private files.
      objects: the S3 that they read and write.
      logs: a client of CloudWatch Logs.
      environment: what stands for the image's environment.
      isolation: how hosts are kept apart.
      grace_s: seconds between SIGTERM and SIGKILL.
      sync_every_s: seconds between two looks for new checkpoints.
    """

    folder: Path
    objects: Objects
    logs: object
    environment: dict[str, str]
    isolation: Isolation
    grace_s: float
    sync_every_s: float


class Job:
    """One training job, from its request to its end.

    Attributes:
      request: the request that created it.
      status: TrainingJobStatus.
      exit_codes: those of its hosts, once it has ended.
      ended: when; None until then.
      changed: when it last changed.
    """

    def __init__(self, request: dict, around: Surroundings) -> None:
        self.request, self.name = request, request["TrainingJobName"]
        self.arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-job/{self.name.lower()}"
        self.created = self.changed = time.time()
        self.ended: float | None = None
        self.status, self.failure_reason = "InProgress", ""
        self.exit_codes: dict[str, int] = {}
        self._transitions: tuple[Transition, ...] = ()
        self._metrics: dict[str, tuple[float, float]] = {}
        self._patterns = [
            (each["Name"], re.compile(each["Regex"]))
            for each in request["AlgorithmSpecification"].get("MetricDefinitions", [])
        ]
        self._log = _Log(around.logs, self.name)
        self._lock = threading.Lock()
        self._run = self._run_in(around)
        self._thread = threading.Thread(target=self._execute, daemon=True, name=self.name)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> bool:
        """Asks it to end; returns whether it still ran."""
        with self._lock:
            if self.ended is not None:
                return False
            self.status, self.changed = "Stopping", time.time()
        self._run.stop()
        return True

    def kill(self) -> None:
        """Ends it without leaving it time to save."""
        self._run.stop(grace_s=0)

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    def artifact(self, kind: str) -> str:
        """Returns the S3 URI of its model or output."""
        output = self.request["OutputDataConfig"]
        suffix = "/" if output.get("CompressionType") == "NONE" else ".tar.gz"
        return f"{output['S3OutputPath'].rstrip('/')}/{self.name}/output/{kind}{suffix}"

    def summary(self) -> dict:
        return {
            "TrainingJobName": self.name,
            "TrainingJobArn": self.arn,
            "CreationTime": self.created,
            "LastModifiedTime": self.changed,
            "TrainingJobStatus": self.status,
            "SecondaryStatus": self._transitions[-1].phase.value if self._transitions else "Starting",
            **({"TrainingEndTime": self.ended} if self.ended is not None else {}),
        }

    def description(self) -> dict:
        members = output_members("DescribeTrainingJob")
        with self._lock:
            return self._description(members)

    def _description(self, members: frozenset[str]) -> dict:
        return {
            **{name: value for name, value in self.request.items() if name in members},
            **self.summary(),
            **self._times(),
            "ModelArtifacts": {"S3ModelArtifacts": self.artifact("model")},
            "SecondaryStatusTransitions": [_transition(each) for each in self._transitions],
            "FinalMetricDataList": [
                {"MetricName": name, "Value": value, "Timestamp": when}
                for name, (value, when) in sorted(self._metrics.items())
            ],
            **({"FailureReason": self.failure_reason} if self.failure_reason else {}),
        }

    def _times(self) -> dict:
        started = next((each.start.timestamp() for each in self._transitions if each.phase is Phase.DOWNLOADING), None)
        if started is None:
            return {}
        if self.ended is None:
            return {"TrainingStartTime": started}
        seconds = math.ceil(self.ended - started)
        return {"TrainingStartTime": started, "TrainingTimeInSeconds": seconds, "BillableTimeInSeconds": seconds}

    def _run_in(self, around: Surroundings) -> JobRun:
        checkpoints = self.request.get("CheckpointConfig")
        role = self.request["RoleArn"]
        return JobRun(
            request=self.request,
            workspace=(around.folder / self.name).absolute(),
            channels=lambda channel, folder: around.objects.download(channel, folder, role),
            environment=around.environment,
            isolation=around.isolation,
            checkpoints=_CheckpointPrefix(around.objects, checkpoints["S3Uri"]) if checkpoints else None,
            store=lambda kind, path: around.objects.upload(self.artifact(kind), path),
            on_line=self._on_line,
            on_transition=self._on_transition,
            grace_s=around.grace_s,
            sync_every_s=around.sync_every_s,
            region=REGION,
            account=ACCOUNT,
        )

    def _execute(self) -> None:
        try:
            outcome = self._run.run()
            status, reason, transitions = outcome.status.value, outcome.failure_reason, outcome.transitions
            self.exit_codes = dict(outcome.exit_codes)
        except Exception:  # noqa: BLE001 - a job must not end unseen: the test reads it in the failure reason
            status, reason = Status.FAILED.value, f"InternalServerError: {traceback.format_exc()}"
            transitions = (*self._run.transitions, Transition(phase=Phase.FAILED, start=datetime.now(UTC)))
        self._log.close()
        with self._lock:
            self._transitions, self.failure_reason = transitions, reason
            self.ended = self.changed = time.time()
            self.status = status

    def _on_line(self, host: str, text: str) -> None:
        self._log.add(host, text)
        for name, pattern in self._patterns:
            value = _captured(pattern, text)
            if value is not None:
                self._metrics[name] = (value, time.time())

    def _on_transition(self, transition: Transition) -> None:
        if transition.phase not in _LAST:  # the end is shown when logs and artifacts are there
            self._transitions, self.changed = self._run.transitions, time.time()


class Objects:
    """The S3 of a service."""

    def __init__(self, client) -> None:
        self._client = client

    def keys(self, uri: str, *, most: int | None = None) -> list[str]:
        """Returns the keys below a prefix; none where there is no such bucket."""
        from botocore.exceptions import ClientError

        bucket, prefix = _bucket_and_key(uri)
        pages = self._client.get_paginator("list_objects_v2")
        limit = {"MaxItems": most} if most else {}
        try:
            found = pages.paginate(Bucket=bucket, Prefix=prefix, PaginationConfig=limit)
            return [item["Key"] for page in found for item in page.get("Contents", [])]
        except ClientError:
            return []

    def none_found(self, uri: str, role: str) -> str:
        """Returns SageMaker's words for a prefix without objects.

        Source: answers of 2021, in aws/amazon-sagemaker-examples issues 2267 and 2493.
        """
        return (
            f'No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure that the bucket '
            f"exists in the selected region ({REGION}), that objects exist under that S3 prefix, and that the role "
            f'"{role}" has "s3:ListBucket" permissions on bucket "{_bucket_and_key(uri)[0]}".'
        )

    def download(self, channel, folder: Path, role: str) -> None:
        """Fills a channel's folder."""
        bucket, prefix = _bucket_and_key(channel.uri)
        keys = self.keys(channel.uri)
        if not keys:
            message = f"Data download failed:{self.none_found(channel.uri, role)}"
            raise TransferFailed(message)
        for key in channel.objects(keys):
            self.fetch(bucket, key, folder / path_below(key, prefix))

    def fetch(self, bucket: str, key: str, path: Path) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._client.download_file(bucket, key, str(path))
        except (BotoCoreError, ClientError, OSError) as error:
            message = f"Data download failed:{error}"
            raise TransferFailed(message) from error

    def upload(self, uri: str, path: Path) -> None:
        """Uploads a file, or a folder's files below the URI."""
        from boto3.exceptions import S3UploadFailedError
        from botocore.exceptions import BotoCoreError, ClientError

        bucket, key = _bucket_and_key(uri)
        files = [path] if path.is_file() else [each for each in sorted(path.rglob("*")) if each.is_file()]
        for file in files:
            name = key if file == path else f"{key.rstrip('/')}/{file.relative_to(path)}"
            try:
                self._client.upload_file(str(file), bucket, name)
            except (BotoCoreError, ClientError, S3UploadFailedError) as error:
                message = f"Artifact upload failed:{error}"
                raise TransferFailed(message) from error


class _Log:
    """The CloudWatch streams of a job, written in batches by a thread."""

    def __init__(self, client, job_name: str) -> None:
        self._client, self._job_name = client, job_name
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._waiting: dict[str, list[dict]] = {}
        self._streams: dict[str, str] = {}
        self._thread: threading.Thread | None = None

    def add(self, host: str, text: str) -> None:
        event = {"timestamp": int(time.time() * 1000), "message": text or " "}  # CloudWatch refuses empty ones
        with self._lock:
            self._waiting.setdefault(host, []).append(event)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()

    def close(self) -> None:
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        last = False
        while not last:
            last = self._closed.wait(0.2)
            with self._lock:
                waiting, self._waiting = self._waiting, {}
            for host, events in waiting.items():
                self._put(host, events)

    def _put(self, host: str, events: list[dict]) -> None:
        stream = self._streams.get(host)
        if stream is None:
            stream = self._streams[host] = f"{self._job_name}/{host}-{int(time.time())}"
            self._client.create_log_stream(logGroupName=LOG_GROUP, logStreamName=stream)
        for start in range(0, len(events), 1000):
            batch = events[start : start + 1000]
            self._client.put_log_events(logGroupName=LOG_GROUP, logStreamName=stream, logEvents=batch)


@dataclass
class _CheckpointPrefix:
    """Checkpoints kept below an S3 URI; files are taken as they are, also half-written ones, and none is deleted."""

    objects: Objects
    uri: str
    seen: dict[Path, tuple[int, int]] = field(default_factory=dict)

    def restore(self, folder: Path) -> None:
        uri = f"{self.uri.rstrip('/')}/"
        bucket, prefix = _bucket_and_key(uri)
        for key in self.objects.keys(uri):
            if not key.endswith("/"):
                path = folder / path_below(key, prefix)
                self.objects.fetch(bucket, key, path)
                self.seen[path] = _look(path)

    def sync(self, folder: Path) -> None:
        for path in sorted(folder.rglob("*")):
            try:
                if path.is_file() and self.seen.get(path) != (look := _look(path)):
                    self.objects.upload(f"{self.uri.rstrip('/')}/{path.relative_to(folder)}", path)
                    self.seen[path] = look
            except FileNotFoundError:
                continue  # deleted or renamed in the meantime


def _look(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _bucket_and_key(uri: str) -> tuple[str, str]:
    return urlsplit(uri).netloc, uri.partition("://")[2].partition("/")[2]


def _captured(pattern: re.Pattern[str], text: str) -> float | None:
    found = pattern.search(text)
    if found is None or not found.groups():
        return None
    try:
        value = float(found[1])
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _transition(transition: Transition) -> dict:
    end = {"EndTime": transition.end.timestamp()} if transition.end else {}
    return {
        "Status": transition.phase.value,
        "StartTime": transition.start.timestamp(),
        "StatusMessage": transition.message,
        **end,
    }
