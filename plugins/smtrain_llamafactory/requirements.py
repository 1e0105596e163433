"""What a program of LLaMA-Factory asks of its target: packages, GPUs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from smtrain.plugin import Job, Needs, Package

_TORCH: Mapping[str, str] = {"0.9.5": ">=2.4"}
"""Version of LLaMA-Factory → the torch that its pyproject.toml asks for."""

_SWITCHED: Mapping[str, tuple[Package, ...]] = {
    "use_kt": (Package(name="kt-kernel"), Package(name="transformers-kt"), Package(name="accelerate-kt")),
    "use_unsloth": (Package(name="unsloth"),),
    "enable_liger_kernel": (Package(name="liger-kernel"),),
    "mixture_of_depths": (Package(name="mixture-of-depth", specifier=">=1.1.6"),),
    "use_galore": (Package(name="galore-torch"),),
    "use_apollo": (Package(name="apollo-torch"),),
    "use_badam": (Package(name="badam", specifier=">=1.2.1"),),
    "use_adam_mini": (Package(name="adam-mini"),),
    "use_swanlab": (Package(name="swanlab"),),
    "use_hyper_parallel": (Package(name="hyper_parallel"),),
    "plot_loss": (Package(name="matplotlib"),),
    "predict_with_generate": (Package(name="jieba"), Package(name="nltk"), Package(name="rouge-chinese")),
    "deepspeed": (Package(name="deepspeed"),),
}
"""Argument → packages needed when it is set (LLaMA-Factory, hparams/parser.py, _check_extra_dependencies)."""

_REPORTERS = ("wandb", "tensorboard", "swanlab", "mlflow", "trackio")
_QUANTIZERS = {"bnb": "bitsandbytes", "hqq": "hqq", "eetq": "eetq"}

_Matches = Callable[[Mapping[str, object]], bool]

_CHOSEN: tuple[tuple[_Matches, str], ...] = (
    (lambda args: any(word in str(args.get("optim", "")) for word in ("8bit", "paged")), "bitsandbytes"),
    (lambda args: args.get("flash_attn") == "fa2", "flash-attn"),
    (lambda args: args.get("infer_backend") == "vllm", "vllm"),
    (lambda args: args.get("infer_backend") == "sglang", "sglang"),
)


def needs(job: Job, version: str, args: Mapping[str, object], *, more: tuple[Package, ...] = ()) -> Needs:
    """Returns what the program needs.

    Args:
      job: the job.
      version: of LLaMA-Factory.
      args: LLaMA-Factory's arguments, all of them.
      more: further packages.
    """
    found = {package.name: package for package in (*_packages(args), *more)}
    gpu = job.topology.accelerator == "gpu"
    return Needs(
        gpus_per_node=job.topology.processes_per_node if gpu else 0,
        packages=(
            Package(name="llamafactory", specifier=f"=={version}"),
            *(found[name] for name in sorted(found)),
            *((Package(name="torch", specifier=_TORCH[version]),) if version in _TORCH else ()),
        ),
    )


def _packages(args: Mapping[str, object]) -> Iterator[Package]:
    for argument, packages in _SWITCHED.items():
        if args.get(argument):
            yield from packages
    if args.get("quantization_bit"):
        method = str(args.get("quantization_method", "bnb"))
        if method in _QUANTIZERS:
            yield Package(name=_QUANTIZERS[method])
    reporters = args.get("report_to")
    for reporter in _REPORTERS:
        if reporter in (reporters if isinstance(reporters, list | tuple) else (reporters,)):
            yield Package(name=reporter)
    for matches, name in _CHOSEN:
        if matches(args):
            yield Package(name=name)
