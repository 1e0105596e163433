"""The hooks: what a plugin may add to smtrain, each with its signature and one sentence.

A plugin is a module named by an entry point of the group `smtrain`; it implements the hooks that it needs with
`smtrain.plugin.hookimpl`. Hooks are additive: several plugins may implement the same one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smtrain.errors import Problem
    from smtrain.spec import Job, Receipt

GROUP = "smtrain"

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerSpec:
    """A trainer on offer; naming it costs nothing, since `load` is imported only when it is chosen.

    Attributes:
      name: what `trainer.name` says.
      load: "module:Class" of a `Trainer`.
      options: "module:Class" of the frozen dataclass that types the `trainer` section.
      summary: one sentence for `smtrain plugins`.
      option_schemas: option → "module:function" returning the JSON Schema of that option, given the other options; for
        options whose keys come from the trained program rather than from the class.

    Example:
      `TrainerSpec(name="acme", load="acme.trainer:Acme", options="acme.trainer:AcmeOptions", summary="Ours.")`
    """

    name: str
    load: str
    options: str
    summary: str
    option_schemas: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSpec:
    """A backend on offer; the attributes are those of `TrainerSpec`, for a `Backend` and the `backend` section.

    Example:
      `BackendSpec(name="cron", load="acme.cron:Cron", options="acme.cron:CronOptions", summary="Tonight.")`
    """

    name: str
    load: str
    options: str
    summary: str
    option_schemas: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImporterSpec:
    """A converter of another tool's configuration, for `smtrain import NAME FILE`.

    Attributes:
      name: what the command line says.
      load: "module:Class" of an `Importer`.
      summary: one sentence for `smtrain plugins`.
    """

    name: str
    load: str
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSpec:
    """A command of the plugin's own: `smtrain NAME OVERRIDES…`.

    It is about a run that is compiled and not launched; or, where it names a section, about that section and no run.

    Attributes:
      name: one or two lower-case words, such as "cost" or "data tokenize"; the first is none of smtrain's verbs.
      load: "module:Class" of a `Command`, or of a `SectionCommand` where there is a section.
      summary: one sentence for `smtrain plugins` and the command's help.
      section: a section of the plugin's own, which is also a config group: `smtrain NAME section=CHOICE section.key=1`.
        Several commands of one plugin may share it. Runs may have it as well: `Run.sections`.
      options: "module:Class" of the frozen dataclass that types the section.

    Example:
      `CommandSpec(name="acme price", load="acme.price:Price", summary="Tells what a run is worth.")`
    """

    name: str
    load: str
    summary: str
    section: str = ""
    options: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a run.

    Attributes:
      kind: "compiled", "started" or "ended".
      run_dir: the run's folder, as text.
      receipt: the receipt at that moment; None before the run was submitted.
    """

    kind: str
    run_dir: str
    receipt: Receipt | None = None


@hookspec
def smtrain_trainers() -> Iterable[TrainerSpec]:  # type: ignore[empty-body]  # a hookspec has no body
    """Returns the trainers that this plugin offers, e.g. `[TrainerSpec(name="acme", …)]`."""


@hookspec
def smtrain_backends() -> Iterable[BackendSpec]:  # type: ignore[empty-body]  # a hookspec has no body
    """Returns the backends that this plugin offers, e.g. `[BackendSpec(name="cron", …)]`."""


@hookspec
def smtrain_importers() -> Iterable[ImporterSpec]:  # type: ignore[empty-body]  # a hookspec has no body
    """Returns the converters of other tools' configurations that this plugin offers."""


@hookspec
def smtrain_commands() -> Iterable[CommandSpec]:  # type: ignore[empty-body]  # a hookspec has no body
    """Returns the commands that this plugin adds, e.g. `[CommandSpec(name="acme price", …)]`."""


@hookspec
def smtrain_config_paths() -> Iterable[str]:  # type: ignore[empty-body]  # a hookspec has no body
    """Returns entries for Hydra's search path that hold this plugin's config groups, e.g. `["pkg://acme.conf"]`."""


@hookspec
def smtrain_checks(job: Job) -> Iterable[Problem]:  # type: ignore[empty-body]  # a hookspec has no body
    """Yields an organisation's own objections to a job, e.g. a model that may not leave the house."""


@hookspec
def smtrain_on_event(event: Event) -> None:
    """Is told what happens to runs, for tracking and notifications; what it raises is reported and goes no further."""
