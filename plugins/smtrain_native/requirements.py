"""What a native program asks of its target: packages, GPUs."""

from __future__ import annotations

from collections.abc import Iterator

from smtrain.plugin import Job, Needs, Package, distributed
from smtrain_native.options import NativeOptions

# Those of the extra `native` in pyproject.toml, where each bound has its reason; a test holds them equal.
_ALWAYS = (
    Package(name="filelock", specifier=">=3.12"),
    Package(name="numpy", specifier=">=1.26"),
    Package(name="pyarrow", specifier=">=15"),
    Package(name="safetensors", specifier=">=0.4.3"),
    Package(name="torch", specifier=">=2.4"),
    Package(name="tqdm", specifier=">=4.27"),
    Package(name="transformers", specifier=">=5.6,<6"),
)
_PEFT = Package(name="peft", specifier=">=0.18")
_DEEPSPEED = Package(name="deepspeed", specifier=">=0.19")


def needs(job: Job, options: NativeOptions) -> Needs:
    """Returns what the program needs."""
    packages = {package.name: package for package in (*_ALWAYS, *_chosen(job, options))}
    return Needs(
        gpus_per_node=job.topology.processes_per_node if job.topology.accelerator == "gpu" else 0,
        packages=tuple(packages[name] for name in sorted(packages)),
    )


def _chosen(job: Job, options: NativeOptions) -> Iterator[Package]:
    if options.tuning.kind == "lora" or job.adapters:
        yield _PEFT
    if distributed.zero_stage(job) is not None or job.run.launcher.kind == "deepspeed":
        yield _DEEPSPEED
    if job.run.launcher.kind == "accelerate":
        yield Package(name="accelerate")
    if any(dataset.source == "hub" for dataset in job.datasets):
        yield Package(name="datasets", specifier=">=3")
    for reporter in options.reports.to:
        yield Package(name=reporter)
