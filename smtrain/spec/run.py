"""`Run`: what the user said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from smtrain.sections import Compute, Data, Launcher, Model, Storage, Strategy


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """A plugin that the run selected by name, and its typed options (an instance of the spec's `options` class)."""

    name: str
    options: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What the user said, typed and complete; nothing derived.

    Attributes:
      name: the run's name, the readable half of its identity.
      global_batch_size: samples per optimizer step over all processes; None leaves it to follow from the other two.
      micro_batch_size: samples per process and forward pass.
      gradient_accumulation_steps: forward passes per optimizer step; None is derived.
      env: environment variables of the workload.
      secrets: variable name → reference to where its value is on the target, e.g. "env:WANDB_API_KEY".
      sections: sections that plugins' commands bring, by name, where the run has them; each is typed by its plugin.
    """

    name: str
    backend: Selected
    trainer: Selected
    model: Model
    data: Data
    strategy: Strategy
    launcher: Launcher
    compute: Compute
    storage: Storage
    global_batch_size: int | None
    micro_batch_size: int | None
    gradient_accumulation_steps: int | None
    seed: int
    env: Mapping[str, str]
    secrets: Mapping[str, str]
    sections: Mapping[str, object] = field(default_factory=dict)
