"""The backend `hyperpod_eks`: the bundle is a job of an operator, and the ConfigMaps with all that it runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from smtrain.plugin import (
    RUN_ID,
    Bundle,
    BundleFile,
    Expect,
    Finding,
    HandOver,
    Job,
    Json,
    LogLine,
    Observer,
    Problem,
    Program,
    Receipt,
    Rehearsal,
    Staging,
    launch_script,
)
from smtrain_hyperpod.eks import facts, launch, machine, manifests, operators, pod, schema_check, submission
from smtrain_hyperpod.eks.contents import Contents, contents
from smtrain_hyperpod.eks.options import EksOptions
from smtrain_hyperpod.eks.rules import job_rules, program_rules
from smtrain_hyperpod.eks.submission import Submission


class EksBackend:
    """Runs a program as a job of HyperPod's or Kubeflow's operator, and looks after it."""

    def check_job(self, job: Job, options: EksOptions) -> Iterable[Problem]:
        """Yields every reason why the cluster could not run the job, whatever the program is."""
        yield from job_rules.problems(job, options)

    def check(self, job: Job, program: Program, options: EksOptions) -> Iterable[Problem]:
        """Yields every reason why the cluster could not run this very program."""
        broken = tuple(launch_script.problems(program))
        yield from broken
        yield from program_rules.problems(job, program, options)
        if any(problem.is_error for problem in broken):
            return
        operator = operators.of(options)
        found = contents(job, program, options, operator)
        yield from found.problems
        yield from schema_check.problems(_named(job, operator.manifest(job, options, found.maps)), operator.schema)

    def lower(self, job: Job, program: Program, options: EksOptions) -> Bundle:
        """Returns the bundle: job.yaml, kustomization.yaml, and the files of every ConfigMap."""
        operator = operators.of(options)
        found = contents(job, program, options, operator)
        return Bundle(
            name=job.run.name,
            backend=job.run.backend.name,
            trainer=job.run.trainer.name,
            files=(
                *manifests.files(operator.manifest(job, options, found.maps), found.maps),
                BundleFile(path=submission.FILE, content=_submission(job, program, options, found)),
                *found.files,
            ),
            actions=(
                *_expectations(program, options),
                *found.uploads,
                HandOver(
                    document=submission.FILE, summary=f"kubectl apply {operator.kind} {RUN_ID} and its ConfigMaps"
                ),
            ),
            progress=program.progress,
            cost=machine.cost(job, options),
            facts=tuple(facts.facts(job, program, options, found)),
        )

    def hand_over(self, run_dir: Path, document: Json, receipt: Receipt, *, observer: Observer) -> Receipt:
        """Gives the job to the cluster, unless it has it already."""
        from smtrain_hyperpod.eks import hand_over

        return hand_over.hand_over(run_dir, document, receipt, observer=observer)

    def status(self, run_dir: Path, receipt: Receipt) -> Receipt:
        """Returns the receipt as it is now."""
        from smtrain_hyperpod.eks.following import status

        return status.status(run_dir, receipt)

    def logs(self, run_dir: Path, receipt: Receipt, *, follow: bool) -> Iterator[LogLine]:
        """Yields the lines of all pods; with `follow`, until the job ends."""
        from smtrain_hyperpod.eks.following import logs

        return logs.lines(run_dir, receipt, follow=follow)

    def stop(self, run_dir: Path, receipt: Receipt) -> Receipt:
        """Ends the job, giving it time to save."""
        from smtrain_hyperpod.eks.following import stop

        return stop.stop(run_dir, receipt)

    def fetch(self, run_dir: Path, receipt: Receipt, *, parts: tuple[str, ...], observer: Observer) -> tuple[Path, ...]:
        """Brings results from S3 into the run's folder."""
        from smtrain_hyperpod.eks.following import fetch

        return fetch.fetch(run_dir, receipt, parts=parts, observer=observer)

    def rehearse(self, run_dir: Path, rehearsal: Rehearsal, *, env: Mapping[str, str], observer: Observer) -> Receipt:
        """Executes the bundle on this machine, each pod as a process."""
        from smtrain_hyperpod.eks.rehearsal import rehearse

        return rehearse.rehearse(run_dir, rehearsal, env=env, observer=observer)

    def diagnose(self, job: Job, bundle: Bundle, options: EksOptions) -> Iterator[Finding]:
        """Yields what it finds in the cluster; changes nothing."""
        from smtrain_hyperpod.eks import doctor

        return doctor.diagnose(job, bundle, options)


def _submission(job: Job, program: Program, options: EksOptions, found: Contents) -> bytes:
    operator, cost = operators.of(options), machine.cost(job, options)
    output, folder = (job.run.storage.output or "").rstrip("/"), launch.output_folder(job)
    return submission.render(
        Submission(
            kind=operator.kind,
            resource=operator.resource,
            context=options.context or "",
            namespace=options.namespace or "",
            config_maps=tuple(each.name for each in found.maps),
            output_uri="" if folder else f"{output}/{RUN_ID}",
            output_folder=f"{folder}/{RUN_ID}" if folder else "",
            region=options.region or "",
            nodes=job.topology.nodes,
            grace_s=options.grace_s + pod.LAST_WORDS_S,
            longest_name=operator.longest_name(job.topology.nodes),
            usd_per_hour=cost.usd_per_hour if cost else None,
            in_place=tuple(item.name for item in program.inputs if item.staging is Staging.IN_PLACE),
            progress=program.progress.path if program.progress else "",
        )
    )


def _named(job: Job, manifest: Mapping[str, Json]) -> dict[str, Json]:
    # The digest is not known yet; any of its length will do.
    document = json.loads(json.dumps(manifest).replace(RUN_ID, f"{job.run.name}-{'0' * 10}"))
    return dict(document)


def _expectations(program: Program, options: EksOptions) -> Iterator[Expect]:
    uris = tuple(dict.fromkeys(item.uri for item in program.inputs if item.uri.startswith("s3://")))
    if uris:
        yield Expect(uris=uris, region=options.region or "")
