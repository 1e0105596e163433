"""Runs a job from its request to its outcome: the page to read first."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from smtrain.plugin import ExitCode, Json, Problem, SmtrainError
from smtrain_trainingjob.rehearsal import folders, layout, namespaces, results
from smtrain_trainingjob.rehearsal.channel import Channels, TransferFailed
from smtrain_trainingjob.rehearsal.hosts import MOST_HOSTS, Host, place
from smtrain_trainingjob.rehearsal.isolation import Command, Isolation, Mount
from smtrain_trainingjob.rehearsal.outcome import Outcome, Phase, Status, Transition, algorithm_error, client_error
from smtrain_trainingjob.rehearsal.request import ML, JobRequest, read
from smtrain_trainingjob.rehearsal.training import Cause, Ending, Training

GRACE_S = 120.0
"""Seconds between SIGTERM and SIGKILL on SageMaker (API reference of StopTrainingJob)."""


def best_isolation() -> Isolation:
    """Returns namespaces where this user may make them, else folders."""
    return namespaces.find() or folders.Folders()


def _ignore_line(host: str, line: str) -> None:
    del host, line


def _ignore_transition(transition: Transition) -> None:
    del transition


@dataclass(slots=True, kw_only=True)
class JobRun:
    """One execution of one request.

    Attributes:
      request: the CreateTrainingJob request.
      workspace: folder for the hosts' private files, absolute; left to the caller afterwards. It must not hold the
        files of another run.
      channels: puts the files of an S3 channel in place.
      environment: what stands for the image's own environment: PATH, HOME; and credentials, endpoints.
      isolation: how hosts are kept apart.
      file_systems: the folder of this machine that stands for a file system channel, by channel.
      checkpoints: what stands for CheckpointConfig.S3Uri; None keeps none.
      store: keeps results; None leaves them in the workspace, as `model.tar.gz` and `output.tar.gz`.
      on_line: called with host and text of each line of output, from the thread that called `run`.
      on_transition: called when a phase begins, from the same thread.
      grace_s: seconds between SIGTERM and SIGKILL.
      sync_every_s: seconds between two looks for new checkpoints.
      region: the region that the hosts see.
      account: the account in the job's ARN.
    """

    request: Mapping[str, Json]
    workspace: Path
    channels: Channels
    environment: Mapping[str, str]
    isolation: Isolation = field(default_factory=best_isolation)
    file_systems: Mapping[str, Path] = field(default_factory=dict)
    checkpoints: results.Checkpoints | None = None
    store: results.Store | None = None
    on_line: Callable[[str, str], None] = _ignore_line
    on_transition: Callable[[Transition], None] = _ignore_transition
    grace_s: float = GRACE_S
    sync_every_s: float = 5.0
    region: str = "us-east-1"
    account: str = "000000000000"
    _training: Training = field(init=False)
    _transitions: list[Transition] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        """Makes what `stop` may reach before `run` is called."""
        self._training = Training(
            isolation=self.isolation,
            grace_s=self.grace_s,
            on_line=self.on_line,
            on_stopping=lambda: self._enter(Phase.STOPPING),
        )

    @property
    def transitions(self) -> tuple[Transition, ...]:
        """The phases so far; the last one has no end yet."""
        return tuple(self._transitions)

    def stop(self, *, grace_s: float | None = None) -> None:
        """Asks the job to end, from any thread, as StopTrainingJob does.

        Args:
          grace_s: another time than the run's between SIGTERM and SIGKILL, for who cannot wait.
        """
        self._training.stop(grace_s=grace_s)

    def run(self) -> Outcome:
        """Runs the job to its end, once.

        Raises:
          SmtrainError: the request asks for what cannot be rehearsed here.
        """
        job = read(self.request)
        hosts = self._hosts(job)
        began = time.monotonic()
        self._enter(Phase.STARTING)
        for host in hosts:
            layout.write(job, host, hosts, self.isolation)
        try:
            ending = self._execute(job, hosts, deadline=began + job.max_runtime_s)
            self._enter(Phase.UPLOADING)
            self._upload(job, hosts, ending)
        except TransferFailed as error:
            return self._outcome(Phase.FAILED, client_error(str(error)), {}, began)
        failed = next((host for host in hosts if host.name == ending.failed), None)
        reason = algorithm_error(failed.ml / "output/failure", ending.codes[failed.name]) if failed else ""
        return self._outcome(_LAST_PHASE[ending.cause], reason, ending.codes, began)

    def _hosts(self, job: JobRequest) -> tuple[Host, ...]:
        hosts = place(job, self.workspace, by_address=self.isolation.by_address)
        problems = tuple(self._problems(job, hosts))
        if problems:
            raise SmtrainError(problems)
        for host in hosts:
            host.ml.mkdir(parents=True)
        return hosts

    def _problems(self, job: JobRequest, hosts: tuple[Host, ...]) -> Iterator[Problem]:
        if not 1 <= len(hosts) <= MOST_HOSTS:
            yield Problem(
                key="request.json:ResourceConfig.InstanceCount",
                what=f"A rehearsal has between 1 and {MOST_HOSTS} hosts, not {len(hosts)}.",
                fix="Rehearse with fewer.",
            )
        for channel in job.channels:
            folder = self.file_systems.get(channel.name)
            if channel.data_type == "FileSystem" and (folder is None or not folder.is_dir()):
                yield Problem(
                    key=f"request.json:InputDataConfig.{channel.name}",
                    what=f"The file system of {channel.uri} is not on this machine"
                    + (f", and neither is {folder}." if folder else "."),
                    fix="Name a folder of this machine that stands for it.",
                    code=ExitCode.MISSING_HERE,
                )
        for host in hosts:
            if host.root.exists():
                yield Problem(
                    key="",
                    what=f"{host.root} holds the files of another rehearsal.",
                    fix="Name another folder, or remove it.",
                )

    def _execute(self, job: JobRequest, hosts: tuple[Host, ...], *, deadline: float) -> Ending:
        self._enter(Phase.DOWNLOADING)
        for host in hosts:
            for channel in layout.channels_of(job, host, hosts):
                if self._training.stop_asked:
                    return Ending(cause=Cause.ASKED)
                folder = host.ml / "input/data" / channel.name
                folder.mkdir()
                if channel.data_type != "FileSystem":
                    self.channels(channel, folder)
        synced = tuple(host.inside(job.checkpoint_path) for host in hosts) if job.checkpoint_path else ()
        for folder in synced:
            folder.mkdir(parents=True, exist_ok=True)
            if self.checkpoints is not None:
                self.checkpoints.restore(folder)
        if self._training.stop_asked:
            return Ending(cause=Cause.ASKED)
        self._enter(Phase.TRAINING)
        if self.checkpoints is None:
            return self._train(job, hosts, deadline=deadline)
        syncing = results.Syncing(checkpoints=self.checkpoints, folders=synced, every_s=self.sync_every_s)
        syncing.start()
        try:
            return self._train(job, hosts, deadline=deadline)
        finally:
            syncing.finish()

    def _train(self, job: JobRequest, hosts: tuple[Host, ...], *, deadline: float) -> Ending:
        self.isolation.open(hosts)
        try:
            return self._training.run([(host, self._command(job, host, hosts)) for host in hosts], deadline=deadline)
        finally:
            self.isolation.close()

    def _command(self, job: JobRequest, host: Host, hosts: tuple[Host, ...]) -> Command:
        arn = f"arn:aws:sagemaker:{self.region}:{self.account}:training-job/{job.name.lower()}"
        platform = {"AWS_REGION": self.region, "TRAINING_JOB_NAME": job.name, "TRAINING_JOB_ARN": arn}
        mounts = tuple(
            Mount(
                source=self.file_systems[channel.name],
                path=f"{ML}/input/data/{channel.name}",
                read_only=channel.read_only,
            )
            for channel in layout.channels_of(job, host, hosts)
            if channel.data_type == "FileSystem"
        )
        return self.isolation.command(host, job.command, {**self.environment, **platform, **job.environment}, mounts)

    def _upload(self, job: JobRequest, hosts: tuple[Host, ...], ending: Ending) -> None:
        # A model that may be half written is worse than none: a failed job keeps only what it said about itself.
        kinds: tuple[tuple[results.Kind, str], ...] = (("model", "model"), ("output", "output/data"))
        for kind, folder in kinds[1:] if ending.cause is Cause.HOST_FAILED else kinds:
            found = results.collect(
                tuple(host.ml / folder for host in hosts), self.workspace / kind, compress=job.compress
            )
            if found is not None and self.store is not None:
                self.store(kind, found)

    def _enter(self, phase: Phase) -> None:
        now = datetime.now(UTC)
        if self._transitions:
            self._transitions[-1] = replace(self._transitions[-1], end=now)
        self._transitions.append(Transition(phase=phase, start=now))
        self.on_transition(self._transitions[-1])

    def _outcome(self, phase: Phase, reason: str, codes: Mapping[str, int], began: float) -> Outcome:
        self._enter(phase)
        return Outcome(
            status=Status.STOPPED if phase is Phase.MAX_RUNTIME_EXCEEDED else Status(phase.value),
            failure_reason=reason,
            exit_codes=codes,
            transitions=self.transitions,
            seconds=time.monotonic() - began,
        )


_LAST_PHASE = {
    Cause.DONE: Phase.COMPLETED,
    Cause.HOST_FAILED: Phase.FAILED,
    Cause.ASKED: Phase.STOPPED,
    Cause.MAX_RUNTIME: Phase.MAX_RUNTIME_EXCEEDED,
}
