"""The backend `trainingjob`: the bundle is a CreateTrainingJob request and all that it refers to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from smtrain.plugin import (
    RUN_ID,
    ApiCall,
    Bundle,
    BundleFile,
    Expect,
    Finding,
    Job,
    Json,
    LogLine,
    Observer,
    Probe,
    Problem,
    Program,
    Receipt,
    Rehearsal,
    State,
    api_limits,
    instances,
    launch_script,
)
from smtrain_trainingjob import facts, inputs, machine, metrics, request, request_keys
from smtrain_trainingjob.contents import Contents, contents
from smtrain_trainingjob.options import TrainingJobOptions
from smtrain_trainingjob.rules import job_rules, program_rules, request_rules
from smtrain_trainingjob.rules.request_view import Machine, RequestView

OPERATION = "sagemaker.CreateTrainingJob"
PROBE = Probe(
    operation="DescribeTrainingJob",
    status="TrainingJobStatus",
    states={
        "InProgress": State.RUNNING,
        "Stopping": State.RUNNING,
        "Completed": State.SUCCEEDED,
        "Failed": State.FAILED,
        "Stopped": State.STOPPED,
    },
)
_NO_PROGRAM = Program(steps=())


class TrainingJobBackend:
    """Runs a program as a SageMaker Training Job, and looks after it."""

    def check_job(self, job: Job, options: TrainingJobOptions) -> Iterable[Problem]:
        """Yields every reason why SageMaker would refuse the request, whatever the program is."""
        found = tuple(job_rules.problems(job, options))
        yield from found
        blamed = {problem.key for problem in found if problem.is_error}
        if machine.image(job, options)[2]:
            blamed.add("backend.image")  # that there is none has been told, with the reason
        named = _named(job, _request(job, _NO_PROGRAM, options, Contents(sets=(), problems=())))
        view = RequestView(
            request=named,
            key_of=request_keys.keys_of(named, options),
            machines=_machines(job, options),
            uploads_checkpoints=True,
        )
        for problem in _refusals(view):
            if problem.key not in blamed:
                yield problem

    def check(self, job: Job, program: Program, options: TrainingJobOptions) -> Iterable[Problem]:
        """Yields every reason why SageMaker could not run this very program."""
        broken = tuple(launch_script.problems(program))
        yield from broken
        yield from program_rules.problems(job, program, options)
        if any(problem.is_error for problem in broken):
            return
        found = contents(job, program, options)
        yield from found.problems
        named = _named(job, _request(job, program, options, found))
        view = RequestView(
            request=named,
            key_of=request_keys.keys_of(named, options),
            machines=_machines(job, options),
            uploads_checkpoints=options.checkpoints.upload and any(each.checkpoint_glob for each in program.outputs),
            calls_out=inputs.calls_out(job, program, options),
        )
        yield from _refusals(view)

    def lower(self, job: Job, program: Program, options: TrainingJobOptions) -> Bundle:
        """Returns the bundle: request.json, estimator.py, and the files of every channel."""
        found = contents(job, program, options)
        asked = _request(job, program, options, found)
        estimator = _estimator(asked, options)
        store = _store(job, options)
        return Bundle(
            name=job.run.name,
            backend=job.run.backend.name,
            trainer=job.run.trainer.name,
            files=(
                BundleFile(path="request.json", content=_json(asked)),
                BundleFile(path="estimator.py", content=estimator.encode()),
                *found.files,
            ),
            actions=(
                *_expectations(program, options),
                *(each.upload(store, region=options.region, kms_key=options.kms.code or "") for each in found.sets),
                ApiCall(
                    service="sagemaker",
                    operation="CreateTrainingJob",
                    request="request.json",
                    name="TrainingJobName",
                    taken="ResourceInUse",
                    probe=PROBE,
                    region=options.region,
                ),
            ),
            progress=program.progress,
            cost=machine.cost(job, options),
            facts=tuple(facts.facts(job, program, options, found)),
        )

    def status(self, run_dir: Path, receipt: Receipt) -> Receipt:
        """Returns the receipt as it is now."""
        from smtrain_trainingjob.following import status

        return status.status(run_dir, receipt)

    def logs(self, run_dir: Path, receipt: Receipt, *, follow: bool) -> Iterator[LogLine]:
        """Yields the lines of all hosts, as CloudWatch got them; with `follow`, until the job ends."""
        from smtrain_trainingjob.following import logs

        return logs.lines(run_dir, receipt, follow=follow)

    def stop(self, run_dir: Path, receipt: Receipt) -> Receipt:
        """Ends the job, giving it time to save."""
        from smtrain_trainingjob.following import stop

        return stop.stop(run_dir, receipt)

    def fetch(self, run_dir: Path, receipt: Receipt, *, parts: tuple[str, ...], observer: Observer) -> tuple[Path, ...]:
        """Brings results from S3 into the run's folder."""
        from smtrain_trainingjob.following import fetch

        return fetch.fetch(run_dir, receipt, parts=parts, observer=observer)

    def diagnose(self, job: Job, bundle: Bundle, options: TrainingJobOptions) -> Iterator[Finding]:
        """Yields what it finds in the account, the region and the bucket; changes nothing."""
        from smtrain_trainingjob.doctor import doctor

        return doctor.diagnose(job, bundle, options)

    def rehearse(self, run_dir: Path, rehearsal: Rehearsal, *, env: Mapping[str, str], observer: Observer) -> Receipt:
        """Executes the bundle on this machine as SageMaker would."""
        from smtrain_trainingjob.rehearsal import rehearse

        return rehearse.rehearse(run_dir, rehearsal, env=env, observer=observer)


def _request(job: Job, program: Program, options: TrainingJobOptions, found: Contents) -> dict[str, Json]:
    store = _store(job, options)
    uri, _, _ = machine.image(job, options)
    return request.build(
        job,
        options,
        request.Content(
            image=uri,
            output=job_rules.output(job),
            volume_gib=machine.volume_gib(job, options),
            channels={each.channel: each.uri(store) for each in found.sets},
            inputs=inputs.in_channels(program, options),
            metrics=metrics.definitions(program, options),
        ),
    )


def _estimator(asked: Mapping[str, Json], options: TrainingJobOptions) -> str:
    if options.sdk == "v2":
        from smtrain_trainingjob.estimator import v2 as estimator_v2

        return estimator_v2.render(asked, region=options.region)
    from smtrain_trainingjob.estimator import v3 as estimator_v3

    return estimator_v3.render(asked, region=options.region)


def _named(job: Job, asked: Mapping[str, Json]) -> dict[str, Json]:
    # The digest is not known yet; any of its length will do.
    run_id = f"{job.run.name}-{'0' * 10}"
    document = json.loads(_json(asked).replace(RUN_ID.encode(), run_id.encode()))
    return dict(document)


def _refusals(view: RequestView) -> Iterator[Problem]:
    """Yields why SageMaker would refuse a request, by its own model and by what it says elsewhere."""
    yield from api_limits.problems(OPERATION, view.request, key_of=view.key_of)
    yield from request_rules.problems(view)


def _machines(job: Job, options: TrainingJobOptions) -> dict[str, Machine]:
    return {
        name: Machine(efa=known.efa_interfaces > 0, nvme_gib=known.nvme_gib)
        for name, _ in machine.types(job, options)
        if (known := instances.find(name))
    }


def _store(job: Job, options: TrainingJobOptions) -> str:
    return (options.store or f"{job_rules.output(job)}/store").rstrip("/")


def _expectations(program: Program, options: TrainingJobOptions) -> Iterator[Expect]:
    uris = [item.uri for item in program.inputs if item.uri.startswith("s3://")]
    uris += [channel.uri for channel in options.channels.values()]
    if uris:
        yield Expect(uris=tuple(dict.fromkeys(uris)), region=options.region)


def _json(document: Mapping[str, Json]) -> bytes:
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
