"""Whether a training gets from one checkpoint to the next before its time limit."""

from __future__ import annotations

from collections.abc import Iterator

from smtrain.plugin import Job, Problem, Program, Saves, instances, step_time, warning
from smtrain_hyperpod.slurm import time_limits
from smtrain_hyperpod.slurm.options import SlurmOptions

_KEY = "backend.time"
_MINUTE_S = 60


def problems(job: Job, program: Program, options: SlurmOptions) -> Iterator[Problem]:
    """Yields a doubt where the work until the time limit would be lost; nothing where that cannot be known."""
    limit_s = time_limits.seconds(options.time) if options.time is not None else None
    left_s = (limit_s or 0) - options.requeue.lead_s
    # Which of several limits is the training's is not known.
    # A limit that is none, or over before the job has begun, is told of by the rules of the job.
    if program.saves is None or left_s <= 0 or any(own.time for own in options.steps.values()):
        return
    too_long = _too_long(job, program, program.saves, options, left_s)
    if too_long is not None:
        yield too_long
    elif program.saves.every_steps is None and not program.saves.on_request and options.requeue.on_time_limit:
        yield _never_saved(job, program.saves, options)


def _never_saved(job: Job, saves: Saves, options: SlurmOptions) -> Problem:
    # On the shared folder the job itself sees that nothing new was saved; it does not look into S3.
    to_s3 = (job.run.storage.output or "").startswith("s3://")
    again = to_s3 and options.requeue.most > 0
    then = "starts from the beginning each time it is requeued" if again else "is lost, and is not requeued"
    what = f"No checkpoint is saved on the way: a training that the time limit ends {then}."
    fix = f"Change {saves.key}; where the limit is long enough, say backend.requeue.on_time_limit=false."
    return warning(_KEY, what, fix)


def _too_long(job: Job, program: Program, saves: Saves, options: SlurmOptions, left_s: int) -> Problem | None:
    steps, called = _interval(job, saves)
    peak_flops = _peak_flops(job, options)
    if steps is None or peak_flops is None:
        return None
    least_s = step_time.least_s(job, program, steps=steps, peak_flops=peak_flops)
    if least_s is None or least_s <= left_s:
        return None
    gpus = job.topology.world_size
    at_best = f"{'each' if gpus > 1 else 'the'} GPU computing at the peak of its data sheet"
    if saves.length_key:
        at_best += f", if every sample is as long as {saves.length_key} allows"
    what = (
        f"{called} {'takes' if steps == 1 else 'take'} at least {_duration(least_s)} on {gpus} GPU"
        f"{'s' if gpus > 1 else ''}, {at_best}; the job is told to end after {_duration(left_s)}."
    )
    fix = "Raise it, or take more GPUs." if steps == 1 else f"Raise it, or save more often: {saves.key}."
    return warning(_KEY, what, fix)


def _interval(job: Job, saves: Saves) -> tuple[int | None, str]:
    """Returns the steps until something is saved, and what to call them."""
    if saves.on_request:
        return 1, "One optimizer step"
    every, whole = saves.every_steps, job.steps
    if every is not None and (whole is None or every < whole):
        return every, f"The {every:,} steps between two checkpoints" if every > 1 else "One optimizer step"
    return whole, f"The {whole:,} steps of the training, without a checkpoint on the way," if whole else ""


def _peak_flops(job: Job, options: SlurmOptions) -> float | None:
    if job.topology.accelerator == "cpu":
        return None
    machine = instances.find(job.run.compute.instance_type or "")
    if machine is not None:
        return instances.peak_flops(machine.gpu)
    return instances.peak_flops(options.gpu_type or "")


def _duration(seconds: float) -> str:
    """Returns e.g. "45 s", "50 min" or "2 h 05 min"."""
    if seconds < _MINUTE_S:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(int(seconds) // 60, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"
