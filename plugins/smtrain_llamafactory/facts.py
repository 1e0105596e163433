"""What the cross rules look at: the arguments as they will be, and the little of the job that bears on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from smtrain.plugin import Dataset, Json, Problem, warning
from smtrain_llamafactory.arguments import KNOWN_VERSIONS, properties


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The effective arguments and their surroundings.

    An argument that is absent, or of a type that `arguments.check` reports anyway, counts as LLaMA-Factory's default;
    so a rule never stumbles over a value.

    Attributes:
      stage: pt, sft, rm, ppo, dpo or kto.
      args: the user's arguments and those that smtrain derives.
      world_size: processes over all nodes.
      zero_stage: DeepSpeed's ZeRO stage; None without DeepSpeed.
      fsdp: whether the strategy is FSDP.
      accelerator: "gpu", "cpu", or "auto".
      datasets: the data sets of both roles; those of the arguments `dataset` and `eval_dataset` when empty.
      training: False for export and inference, which take fewer arguments.
      prefix: key of `args` itself.
      launched: whether torchrun, accelerate or deepspeed starts the process; even one process is distributed then.
      version: of LLaMA-Factory.
    """

    stage: str
    args: Mapping[str, Json]
    world_size: int
    zero_stage: int | None
    fsdp: bool
    accelerator: str
    datasets: tuple[Dataset, ...]
    training: bool = True
    prefix: str = "trainer.args"
    launched: bool = False
    version: str = KNOWN_VERSIONS[-1]

    @property
    def distributed(self) -> bool:
        """Whether transformers will see a distributed run."""
        return self.world_size > 1 or self.launched or self.deepspeed

    @property
    def deepspeed(self) -> bool:
        """Whether DeepSpeed is in use."""
        return self.zero_stage is not None or bool(self.args.get("deepspeed"))

    @property
    def zero3(self) -> bool:
        """Whether parameters are sharded by DeepSpeed."""
        return self.zero_stage == 3  # noqa: PLR2004  # the name of the stage

    @property
    def sharded(self) -> str:
        """Name of the strategy that shards parameters; "" when none does."""
        return "DeepSpeed ZeRO-3" if self.zero3 else "FSDP" if self.any_fsdp else ""

    @property
    def any_fsdp(self) -> bool:
        """Whether FSDP is in use, by the strategy or by the argument."""
        return self.fsdp or bool(self.args.get("fsdp"))

    @property
    def tuning(self) -> str:
        """The fine-tuning type: lora, oft, freeze or full."""
        return self.text("finetuning_type") or "lora"

    def flag(self, name: str) -> bool:
        """Returns the boolean argument."""
        value = self.args.get(name)
        return value if isinstance(value, bool) else self._default(name) is True

    def number(self, name: str) -> float | None:
        """Returns the numeric argument; None when it is null."""
        for value in (self.args.get(name), self._default(name)):
            if isinstance(value, int | float) and not isinstance(value, bool):
                return value
        return None

    def text(self, name: str) -> str | None:
        """Returns the string argument; None when it is null."""
        for value in (self.args.get(name), self._default(name)):
            if isinstance(value, str):
                return value
        return None

    def names(self, name: str) -> tuple[str, ...]:
        """Returns the names in an argument that takes a list, or a string with commas."""
        value = self.args.get(name)
        items = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
        return tuple(str(item).strip() for item in items)

    def given(self, name: str) -> bool:
        """Returns whether the argument is set to something."""
        return self.args.get(name) is not None

    def sets(self, role: str) -> tuple[str, ...]:
        """Returns the names of the data sets of the role "train" or "eval"."""
        known = tuple(dataset.name for dataset in self.datasets if dataset.role == role)
        return known or self.names("dataset" if role == "train" else "eval_dataset")

    def error(self, name: str, what: str, fix: str) -> Problem:
        """Returns an error at this argument."""
        return Problem(key=f"{self.prefix}.{name}", what=what, fix=fix)

    def doubt(self, name: str, what: str, fix: str = "") -> Problem:
        """Returns a warning at this argument."""
        return warning(f"{self.prefix}.{name}", what, fix)

    def _default(self, name: str) -> Json:
        return properties(self.version).get(name, {}).get("default")


Rule = Callable[[Facts], Iterator[Problem]]
"""Yields a problem for each way in which the facts break it; its docstring says where LLaMA-Factory enforces it."""
