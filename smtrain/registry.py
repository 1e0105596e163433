"""The plugins on this machine: found by entry points, loaded lazily, guarded one by one."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.metadata
import re
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias, TypeVar, cast

import pluggy

from smtrain import hookspecs
from smtrain.errors import ExitCode, Problem, Severity, SmtrainError, fail
from smtrain.suggest import did_you_mean

if TYPE_CHECKING:
    from smtrain.hookspecs import BackendSpec, CommandSpec, Event, ImporterSpec, TrainerSpec
    from smtrain.interfaces import Backend, Command, Importer, SectionCommand, Trainer
    from smtrain.spec import Job

    AnySpec: TypeAlias = TrainerSpec | BackendSpec | ImporterSpec | CommandSpec

SpecT = TypeVar("SpecT", "TrainerSpec", "BackendSpec", "ImporterSpec", "CommandSpec")

_COMMAND_NAME = re.compile(r"[a-z][a-z0-9-]*( [a-z][a-z0-9-]*)?")
_SECTION_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """The distribution that a plugin came from."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenPlugin:
    """A plugin that could not be loaded, or whose hook raised."""

    distribution: Distribution
    entry_point: str
    error: str

    def problem(self) -> Problem:
        """Returns the warning that names the plugin; the command goes on without it."""
        return Problem(
            key="",
            what=f"Plugin `{self.entry_point}` of {self.distribution} is broken: {self.error}",
            fix=f"It was left out. Upgrade or uninstall {self.distribution.name}.",
            severity=Severity.WARNING,
            code=ExitCode.BROKEN_PLUGIN,
        )


class Registry:
    """Every plugin of the entry-point group `smtrain`."""

    def __init__(self, entry_points: Iterable[importlib.metadata.EntryPoint] | None = None) -> None:
        """Loads the plugin modules, which only name their parts.

        Args:
          entry_points: the entry points to load; None takes those installed.
        """
        self._manager = pluggy.PluginManager(hookspecs.GROUP)
        self._manager.add_hookspecs(hookspecs)
        self._distributions: dict[str, Distribution] = {}
        self._broken: list[BrokenPlugin] = []
        found = importlib.metadata.entry_points(group=hookspecs.GROUP) if entry_points is None else entry_points
        for entry_point in sorted(found, key=lambda point: (point.name, point.value)):
            self._load(entry_point)

    @property
    def broken(self) -> tuple[BrokenPlugin, ...]:
        """The plugins that were left out so far."""
        return tuple(self._broken)

    @cached_property
    def trainers(self) -> dict[str, TrainerSpec]:
        """Trainer specs by name."""
        return self._by_name("smtrain_trainers", "trainer")

    @cached_property
    def backends(self) -> dict[str, BackendSpec]:
        """Backend specs by name."""
        return self._by_name("smtrain_backends", "backend")

    @cached_property
    def importers(self) -> dict[str, ImporterSpec]:
        """Importer specs by name."""
        return self._by_name("smtrain_importers", "importer")

    @cached_property
    def commands(self) -> dict[str, CommandSpec]:
        """Command specs by name."""
        return self._by_name("smtrain_commands", "command", _is_command)

    @cached_property
    def sections(self) -> dict[str, CommandSpec]:
        """Sections that commands bring → the first command that brings it."""
        found: dict[str, CommandSpec] = {}
        for spec in self.commands.values():
            if not spec.section:
                continue
            first = found.setdefault(spec.section, spec)
            if first.options != spec.options:
                sources = self.source_of(first), self.source_of(spec)
                kind = "section"
                raise _clash(kind, spec.section, *sources)
        return found

    @cached_property
    def config_paths(self) -> tuple[str, ...]:
        """Hydra search path entries of the plugins, in the order of their names."""
        return tuple(cast(str, path) for _, path in self._collect("smtrain_config_paths", _is_search_path))

    def checks(self, job: Job) -> Iterator[Problem]:
        """Yields what the plugins' own rules object to."""
        for _, problem in self._collect("smtrain_checks", _is_a(Problem), job=job):
            yield cast(Problem, problem)

    def announce(self, event: Event) -> None:
        """Tells the plugins what happened; one that raises is reported as broken and goes no further."""
        for _ in self._collect("smtrain_on_event", event=event):
            pass

    def source_of(self, spec: AnySpec) -> Distribution:
        """Returns the distribution that offers a spec."""
        return self._sources[id(spec)]

    def trainer(self, name: str) -> Trainer[object]:
        """Returns a new instance of the trainer of this name.

        Raises:
          SmtrainError: it cannot be imported.
        """
        return cast("Trainer[object]", self.load(self.trainers[name], self.trainers[name].load)())

    def backend(self, name: str) -> Backend[object]:
        """Returns a new instance of the backend of this name.

        Raises:
          SmtrainError: there is none, or it cannot be imported.
        """
        if name not in self.backends:
            raise fail(
                what=f"No backend is called `{name}`.",
                fix=did_you_mean(name, self.backends),
                code=ExitCode.MISSING_HERE,
            )
        return cast("Backend[object]", self.load(self.backends[name], self.backends[name].load)())

    def importer(self, name: str) -> Importer:
        """Returns a new instance of the importer of this name.

        Raises:
          SmtrainError: there is none, or it cannot be imported.
        """
        if name not in self.importers:
            raise fail(what=f"Nothing imports `{name}`.", fix=did_you_mean(name, self.importers))
        return cast("Importer", self.load(self.importers[name], self.importers[name].load)())

    def command(self, name: str) -> Command | SectionCommand[object]:
        """Returns a new instance of the command of this name, which is among `commands`.

        Raises:
          SmtrainError: it cannot be imported.
        """
        spec = self.commands[name]
        found = self.load(spec, spec.load)
        with self.blaming(spec):
            return cast("Command | SectionCommand[object]", found())

    def options_type(self, spec: TrainerSpec | BackendSpec | CommandSpec) -> type:
        """Returns the class that types a spec's section."""
        found = self.load(spec, spec.options)
        with self.blaming(spec):
            if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
                message = f"`{spec.options}` is no dataclass"
                raise TypeError(message)
        return found

    def load(self, spec: AnySpec, address: str) -> type:
        """Imports "module:attribute" on behalf of a spec.

        Raises:
          SmtrainError: with the distribution at fault.
        """
        module_name, _, attribute = address.partition(":")
        try:
            return cast(type, getattr(importlib.import_module(module_name), attribute))
        except Exception as error:
            broken = BrokenPlugin(
                distribution=self.source_of(spec), entry_point=spec.name, error=f"{type(error).__name__}: {error}"
            )
            what = f"Cannot load `{address}` for `{spec.name}`, of {broken.distribution}: {broken.error}"
            raise fail(what, f"Repair or upgrade {broken.distribution.name}.", code=ExitCode.BROKEN_PLUGIN) from error

    @contextlib.contextmanager
    def blaming(self, spec: AnySpec) -> Iterator[None]:
        """Turns what a plugin's own code raises into an error that names its distribution.

        Raises:
          SmtrainError: instead of anything else that was raised.
          BrokenPipeError: whoever read our output has left, which is nobody's fault.
        """
        try:
            yield
        except (SmtrainError, BrokenPipeError):
            raise
        except Exception as error:
            source = self.source_of(spec)
            frame = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{frame.filename}:{frame.lineno}"
            what = f"`{spec.name}`, of {source}, failed: {type(error).__name__}: {error} ({where})."
            raise fail(
                what, f"This is a fault of {source.name}; report it there.", code=ExitCode.BROKEN_PLUGIN
            ) from error

    def _load(self, entry_point: importlib.metadata.EntryPoint) -> None:
        dist = entry_point.dist
        distribution = Distribution(name=dist.name if dist else entry_point.value, version=dist.version if dist else "")
        name = f"{distribution.name}:{entry_point.name}"
        try:
            self._manager.register(entry_point.load(), name=name)
            self._manager.check_pending()
        except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever an import raises must not take us down
            self._blame(distribution, entry_point.name, error)
            if self._manager.has_plugin(name):
                self._manager.unregister(name=name)
        else:
            self._distributions[name] = distribution

    def _blame(self, distribution: Distribution, entry_point: str, error: BaseException) -> None:
        message = f"{type(error).__name__}: {error}"
        self._broken.append(BrokenPlugin(distribution=distribution, entry_point=entry_point, error=message))

    def _collect(
        self, hook: str, fits: Callable[[object], bool] = lambda _: True, **arguments: object
    ) -> Iterator[tuple[str, object]]:
        """Yields (plugin name, item) of what each plugin returns, one plugin guarded from the other.

        Args:
          hook: its name.
          fits: whether an item is what the hook is to return; a plugin whose item is not is broken.
          arguments: of the hook.
        """
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            name = implementation.plugin_name
            wanted = {key: arguments[key] for key in implementation.argnames}
            try:
                items = tuple(implementation.function(**wanted) or ())
                stranger = next((item for item in items if not fits(item)), None)
                if stranger is not None:
                    message = f"{hook} returned {stranger!r}"
                    raise TypeError(message)  # noqa: TRY301  # a fault like any other of the hook
            except (Exception, SystemExit) as error:  # noqa: BLE001  # as above
                self._blame(self._distributions[name], name.partition(":")[2], error)
            else:
                yield from ((name, item) for item in items)

    @cached_property
    def _sources(self) -> dict[int, Distribution]:
        return {}

    def _by_name(self, hook: str, kind: str, fits: Callable[[object], bool] | None = None) -> dict[str, SpecT]:
        found: dict[str, SpecT] = {}
        for plugin, item in self._collect(hook, fits or _is_spec):
            spec = cast(SpecT, item)
            self._sources[id(spec)] = self._distributions[plugin]
            if spec.name in found:
                raise _clash(kind, spec.name, self.source_of(found[spec.name]), self.source_of(spec))
            found[spec.name] = spec
        return dict(sorted(found.items()))


def _is_a(kind: type) -> Callable[[object], bool]:
    return lambda item: isinstance(item, kind)


def _is_spec(item: object) -> bool:
    return isinstance(getattr(item, "name", None), str) and isinstance(getattr(item, "load", None), str)


def _is_command(item: object) -> bool:
    return (
        isinstance(item, hookspecs.CommandSpec)
        and _COMMAND_NAME.fullmatch(str(item.name)) is not None
        and bool(item.section) == bool(item.options)
        and (not item.section or _SECTION_NAME.fullmatch(item.section) is not None)
    )


def _is_search_path(item: object) -> bool:
    return isinstance(item, str) and item.startswith(("pkg://", "file://"))


def _clash(kind: str, name: str, first: Distribution, second: Distribution) -> SmtrainError:
    guest = first if second.name == "smtrain" else second
    return fail(
        f"Two plugins offer a {kind} called `{name}`: {first} and {second}.",
        f"Uninstall one of them: `pip uninstall {guest.name}`.",
        code=ExitCode.BROKEN_PLUGIN,
    )
