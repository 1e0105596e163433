"""What a program must be for SageMaker's hosts."""

from __future__ import annotations

from collections.abc import Iterator

from smtrain.plugin import Job, Problem, Program, memory_estimate, model_shapes, warning
from smtrain_trainingjob import inputs, machine
from smtrain_trainingjob.options import TrainingJobOptions

TAR_GB_PER_HOUR = 25
"""What SageMaker packs and uploads of /opt/ml/model: an hour for 25 GB was measured by users."""

LARGE_MODEL_GB = 10

_IN_AWS_IMAGES = ("torch", "torchvision", "torchaudio", "transformers", "accelerate", "datasets", "peft", "numpy")
"""Packages that some or all of AWS's images have."""


def problems(job: Job, program: Program, options: TrainingJobOptions) -> Iterator[Problem]:
    """Yields every reason why the hosts could not run this program."""
    yield from machine.image_problems(program, *machine.image(job, options)[:2], options)
    yield from inputs.problems(program, options)
    yield from _model_dir(job, program, options)
    yield from _packages(job, program, options)


def _packages(job: Job, program: Program, options: TrainingJobOptions) -> Iterator[Problem]:
    """Of an image of one's own nobody knows what it has; AWS's carry no trainer."""
    if machine.image(job, options)[1] is None or (options.install.mode == "auto" and not options.network_isolation):
        return
    lacking = [package.name for package in program.needs.packages if package.name not in _IN_AWS_IMAGES]
    if lacking and options.install.mode == "never":
        what = f"Nothing is installed, and AWS's image does not have {', '.join(lacking)}."
        yield warning("backend.install.mode", what, "Set it to auto, or name an image that has it: backend.image.")
    elif lacking and options.install.wheels is None:
        what = f"AWS's image does not have {', '.join(lacking)}, and an isolated container reaches no package index."
        fix = "Send wheels along (backend.install.wheels), or name an image that has it (backend.image)."
        yield Problem(key="backend.network_isolation", what=what, fix=fix)


def _model_dir(job: Job, program: Program, options: TrainingJobOptions) -> Iterator[Problem]:
    size_gb = _trained_gb(job, program)
    if options.model_dir and size_gb is not None and size_gb > LARGE_MODEL_GB:
        what = (
            f"A model of about {size_gb:.0f} GB would go through /opt/ml/model, which SageMaker packs and uploads at"
            f" about {TAR_GB_PER_HOUR} GB an hour: {size_gb / TAR_GB_PER_HOUR:.1f} paid hours."
        )
        yield warning("backend.model_dir", what, "Leave it out: the agent uploads the model as files.")


def _trained_gb(job: Job, program: Program) -> float | None:
    """Returns the size of the result, in 10⁹ bytes: an adapter in fp32, or a whole model in 16 bits."""
    shape = model_shapes.shape_of(job.model.config, job.model.reference)
    if shape is None or program.footprint is None:
        return None
    if program.footprint.tuning in ("lora", "qlora"):
        return 4 * memory_estimate.trained_parameters(shape, program.footprint) / 1e9
    return 2 * shape.parameters / 1e9
