"""Executing a bundle on this machine as SageMaker would; what it would send is kept here."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import cast

from smtrain.plugin import Json, Observer, Receipt, Rehearsal, SmtrainError, State, aws, receipts, s3_objects
from smtrain_trainingjob.rehearsal import docker, stand_ins
from smtrain_trainingjob.rehearsal.channel import Channel, TransferFailed, path_below
from smtrain_trainingjob.rehearsal.engine import JobRun, best_isolation
from smtrain_trainingjob.rehearsal.isolation import Isolation
from smtrain_trainingjob.rehearsal.outcome import Outcome, Status, Transition
from smtrain_trainingjob.rehearsal.results import CheckpointFolder

GRACE_S = 30.0
"""SageMaker waits for 120 s between SIGTERM and SIGKILL; whoever rehearses does not."""

SCRATCH = "/opt/ml/scratch"
"""Each host's own, unlike /tmp, which the hosts of a rehearsal share with this machine."""

OUTPUT_URI = "SMTRAIN_OUTPUT_URI"

_OF_THE_MACHINE = frozenset(
    {"HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CUDA_VISIBLE_DEVICES"}
)
_PREFIXES = ("AWS_", "HF_", "S3_", "NVIDIA_", "http_", "https_", "no_", "HTTP_", "HTTPS_", "NO_")
_STATES = {Status.COMPLETED: State.SUCCEEDED, Status.FAILED: State.FAILED, Status.STOPPED: State.STOPPED}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sent:
    """What the bundle would upload to one URI: path in the bundle and key of each file."""

    folder: Path
    files: tuple[tuple[str, str], ...]

    def fill(self, place: Path) -> None:
        for path, key in self.files:
            (place / key).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.folder / path, place / key)


def rehearse(run_dir: Path, rehearsal: Rehearsal, *, env: Mapping[str, str], observer: Observer) -> Receipt:
    """Executes the bundle in `run_dir/bundle`; the arguments are those of `smtrain.plugin.Rehearses`.

    Raises:
      SmtrainError: the bundle is damaged, or asks for what cannot be rehearsed here; or an input is none of its own.
    """
    bundle = run_dir / "bundle"
    request = cast("dict[str, Json]", json.loads((bundle / "request.json").read_text(encoding="utf-8")))
    manifest = cast("dict[str, Json]", json.loads((bundle / "manifest.json").read_text(encoding="utf-8")))
    sent = _sent(bundle, manifest)
    problems = tuple(stand_ins.problems(bundle, rehearsal.inputs, travelling=frozenset(sent)))
    if problems:
        raise SmtrainError(problems)
    channels = _Channels(sent=sent, inputs=rehearsal.inputs, region=_region(manifest))
    results = (run_dir / "results").absolute()
    results.mkdir(exist_ok=True)
    run = JobRun(
        request=_local(request, results, timeout_s=rehearsal.timeout_s),
        workspace=(run_dir / "hosts").absolute(),
        channels=channels.fill,
        environment={**_environment(env), **stand_ins.variables(rehearsal.inputs)},
        isolation=_isolation(request, docker_asked=rehearsal.docker),
        file_systems=rehearsal.inputs,
        checkpoints=CheckpointFolder(results / "sagemaker-checkpoints") if "CheckpointConfig" in request else None,
        on_line=lambda host, text: observer.line(f"{host}  {text}"),
        on_transition=lambda transition: observer.line(_told(transition)),
        grace_s=GRACE_S,
        region=channels.region,
    )
    receipt = Receipt(run_id=run_dir.name, backend=str(manifest["backend"]), state=State.RUNNING, started=time.time())
    with _Interruptible(run):
        outcome = run.run()
    for line in _report(results, outcome):
        observer.line(line)
    ended = _receipt(receipt, outcome, results)
    receipts.write(run_dir, ended)
    return ended


@dataclass(frozen=True, slots=True, kw_only=True)
class _Channels:
    """Where the files of channels come from.

    Attributes:
      sent: S3 URI → what the bundle would upload there.
      inputs: channel → file or folder of this machine that stands in for it.
      region: of the buckets.
    """

    sent: Mapping[str, _Sent]
    inputs: Mapping[str, Path]
    region: str

    def fill(self, channel: Channel, folder: Path) -> None:
        """Puts a channel's files in place: of the bundle, of this machine, or of S3."""
        if channel.uri in self.sent:
            self.sent[channel.uri].fill(folder)
        elif channel.name in self.inputs:
            _copy(self.inputs[channel.name], folder)
        else:
            self._fetch(channel, folder)

    def _fetch(self, channel: Channel, folder: Path) -> None:
        bucket, prefix = s3_objects.split(channel.uri)
        try:
            client = aws.Client("s3", self.region)
            found = {each.key: each for each in s3_objects.beginning(client, bucket, prefix)}
            wanted = channel.objects(found)
            if not wanted:
                reason = f"No S3 objects found under S3 URL {channel.uri!r}"
                raise TransferFailed(reason)
            s3_objects.fetch(client, ((found[key], folder / path_below(key, prefix)) for key in wanted))
        except SmtrainError as error:
            fix = f"--input {channel.name}=PATH lets a file or folder of this machine stand in for it."
            problem = error.problems[0]
            raise SmtrainError([replace(problem, fix=f"{problem.fix}\n{fix}".strip())]) from error


def _sent(bundle: Path, manifest: Mapping[str, Json]) -> dict[str, _Sent]:
    actions = cast("list[dict[str, Json]]", manifest["actions"])
    return {
        str(action["uri"]): _Sent(
            folder=bundle,
            files=tuple((str(path), str(key)) for path, key in cast("list[tuple[str, str]]", action["files"])),
        )
        for action in actions
        if action["do"] == "upload"
    }


def _region(manifest: Mapping[str, Json]) -> str:
    actions = cast("list[dict[str, Json]]", manifest["actions"])
    return next((str(action["region"]) for action in actions if action["do"] == "call"), "us-east-1")


def _local(request: Mapping[str, Json], results: Path, *, timeout_s: int) -> dict[str, Json]:
    """Returns the request with results kept here, and at most so much time."""
    environment = cast("dict[str, Json]", request["Environment"])
    stopping = cast("dict[str, Json]", request["StoppingCondition"])
    longest = int(str(stopping.get("MaxRuntimeInSeconds", timeout_s)))
    return {
        **request,
        "Environment": {**environment, OUTPUT_URI: str(results)},
        "StoppingCondition": {**stopping, "MaxRuntimeInSeconds": min(longest, timeout_s)},
    }


def _environment(env: Mapping[str, str]) -> dict[str, str]:
    """Returns what stands for the image's own environment: little, since the image will not have this machine's."""
    kept = {name: env[name] for name in env if name in _OF_THE_MACHINE or name.startswith(_PREFIXES)}
    python = env.get("SMTRAIN_PYTHON", "")
    if "/" in python:
        kept["PATH"] = f"{python.rpartition('/')[0]}:{kept.get('PATH', '')}"
    return {**kept, "SMTRAIN_SCRATCH_DIR": SCRATCH, "SMTRAIN_MASTER_PORT": str(_free_port())}


def _free_port() -> int:
    """Returns a port that is free, and the next one, too: every host of every rehearsal is this machine."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("", port + 1))
            except (OSError, OverflowError):
                continue
            return port


def _isolation(request: Mapping[str, Json], *, docker_asked: bool) -> Isolation:
    if not docker_asked:
        return best_isolation()
    algorithm = cast("dict[str, Json]", request["AlgorithmSpecification"])
    return docker.find(
        str(request["TrainingJobName"]),
        str(algorithm.get("TrainingImage", "")),
        own_entrypoint="ContainerEntrypoint" in algorithm,
        gpus=shutil.which("nvidia-smi") is not None,
    )


def _copy(source: Path, folder: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, folder, dirs_exist_ok=True)
    else:
        shutil.copy2(source, folder / source.name)


def _told(transition: Transition) -> str:
    return f"smtrain: {transition.phase}: {transition.message}"


def _report(results: Path, outcome: Outcome) -> Iterator[str]:
    """Yields what would have been kept in S3: each output, each checkpoint, each file beside them."""
    sizes: dict[str, list[int]] = {}
    for path in _kept(results):
        parts = path.relative_to(results).parts
        depth = 3 if parts[0] == "checkpoints" else 2
        sizes.setdefault("/".join(parts[:depth]), []).append(path.stat().st_size)
    for name, found in sizes.items():
        files = f"{len(found)} file{'s' if len(found) > 1 else ''}"
        yield f"smtrain: would keep {name}: {files}, {sum(found) / 1e6:,.1f} MB"
    if outcome.status is Status.COMPLETED and not sizes:
        yield "smtrain: nothing would have been kept"


def _kept(results: Path) -> list[Path]:
    return sorted(path for path in results.rglob("*") if path.is_file())


def _receipt(receipt: Receipt, outcome: Outcome, results: Path) -> Receipt:
    state, reason = _STATES[outcome.status], outcome.failure_reason
    code = next((code for code in outcome.exit_codes.values() if code), 0 if outcome.exit_codes else None)
    if state is State.SUCCEEDED and not _kept(results):
        state, reason = State.FAILED, "The job completed, and nothing would have been kept of it in S3."
    if outcome.phase.value == "MaxRuntimeExceeded":
        reason = "It did not end in time; --timeout SECONDS gives it more."
    return replace(receipt, state=state, reason=reason, exit_code=code, ended=time.time())


class _Interruptible:
    """Passes the first Ctrl-C or SIGTERM on to the job, as StopTrainingJob does; the next one waits no longer."""

    def __init__(self, run: JobRun) -> None:
        self._run = run
        self._asked = False
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._stop)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal returned

    def _stop(self, _: int, __: FrameType | None) -> None:
        self._run.stop(grace_s=0 if self._asked else None)
        self._asked = True
