"""The backend `hyperpod_slurm`: the bundle is a script for sbatch and all that it refers to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from smtrain.plugin import (
    Bundle,
    Cost,
    Expect,
    Finding,
    Handed,
    HandOver,
    Job,
    Json,
    LogLine,
    Observer,
    Problem,
    Program,
    Receipt,
    Rehearsal,
    launch_script,
)
from smtrain_hyperpod.slurm import contents, facts, time_limits
from smtrain_hyperpod.slurm.options import SlurmOptions
from smtrain_hyperpod.slurm.rules import job_rules, program_rules


class SlurmBackend:
    """Runs a program as a job of Slurm, and looks after it."""

    def check_job(self, job: Job, options: SlurmOptions) -> Iterable[Problem]:
        """Yields every reason why Slurm would refuse the job, whatever the program is."""
        return job_rules.problems(job, options)

    def check(self, job: Job, program: Program, options: SlurmOptions) -> Iterable[Problem]:
        """Yields every reason why the nodes could not run this very program."""
        yield from launch_script.problems(program)
        yield from program_rules.problems(job, program, options)

    def lower(self, job: Job, program: Program, options: SlurmOptions) -> Bundle:
        """Returns the bundle: job.sbatch, the scripts that it starts on the nodes, and their files."""
        return Bundle(
            name=job.run.name,
            backend=job.run.backend.name,
            trainer=job.run.trainer.name,
            files=contents.files(job, program, options),
            actions=(
                *_expectations(program, options),
                HandOver(document=contents.TARGET, summary=facts.hand_over(options), together=options.array),
            ),
            progress=program.progress,
            cost=_cost(job, options),
            facts=tuple(facts.facts(job, program, options)),
        )

    def hand_over(self, run_dir: Path, document: Json, receipt: Receipt, *, observer: Observer) -> Receipt:
        """Copies the bundle to the cluster, and gives the job to Slurm, unless it has it."""
        from smtrain_hyperpod.slurm.following import hand_over

        return hand_over.hand_over(run_dir, document, receipt, observer=observer)

    def hand_over_together(self, runs: Sequence[Handed], *, observer: Observer) -> tuple[Receipt, ...]:
        """Copies the bundles of a sweep to the cluster, and gives those that Slurm has not to it as one job array."""
        from smtrain_hyperpod.slurm.following import array

        return array.hand_over(runs, observer=observer)

    def status(self, run_dir: Path, receipt: Receipt) -> Receipt:
        """Returns the receipt as it is now."""
        from smtrain_hyperpod.slurm.following import status

        return status.status(run_dir, receipt)

    def logs(self, run_dir: Path, receipt: Receipt, *, follow: bool) -> Iterator[LogLine]:
        """Yields the lines of the job and of all its nodes; with `follow`, until the job ends."""
        from smtrain_hyperpod.slurm.following import logs

        return logs.lines(run_dir, receipt, follow=follow)

    def stop(self, run_dir: Path, receipt: Receipt) -> Receipt:
        """Ends the job, giving it time to save; asked again, at once."""
        from smtrain_hyperpod.slurm.following import stop

        return stop.stop(run_dir, receipt)

    def fetch(self, run_dir: Path, receipt: Receipt, *, parts: tuple[str, ...], observer: Observer) -> tuple[Path, ...]:
        """Brings results from the cluster, or from S3, into the run's folder."""
        from smtrain_hyperpod.slurm.following import fetch

        return fetch.fetch(run_dir, receipt, parts=parts, observer=observer)

    def diagnose(self, job: Job, bundle: Bundle, options: SlurmOptions) -> Iterator[Finding]:
        """Yields what it finds on the login node; changes nothing."""
        from smtrain_hyperpod.slurm import doctor

        return doctor.diagnose(job, bundle, options)

    def rehearse(self, run_dir: Path, rehearsal: Rehearsal, *, env: Mapping[str, str], observer: Observer) -> Receipt:
        """Executes the bundle on this machine: in its own Slurm where there is one, else with stand-ins for srun."""
        from smtrain_hyperpod.slurm.rehearsal import rehearse

        return rehearse.rehearse(run_dir, rehearsal, env=env, observer=observer)


def _expectations(program: Program, options: SlurmOptions) -> Iterator[Expect]:
    uris = tuple(dict.fromkeys(item.uri for item in program.inputs if item.uri.startswith("s3://")))
    # From elsewhere than the cluster, S3 may be out of reach, though not for the nodes.
    if uris and options.region:
        yield Expect(uris=uris, region=options.region)


def _cost(job: Job, options: SlurmOptions) -> Cost | None:
    """Returns what the nodes cost where somebody says so: a cluster costs the same whether a job runs or not."""
    if options.usd_per_hour is None:
        return None
    limit_s = time_limits.seconds(options.time or "")
    return Cost(
        usd_per_hour=options.usd_per_hour * job.topology.nodes,
        max_hours=limit_s / 3600 if limit_s and not options.requeue.on_time_limit else None,
        basis="backend.usd_per_hour",
    )
