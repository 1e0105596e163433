"""The points of a grid sweep, known and compiled before the first is launched."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode

from smtrain.errors import Problem, SmtrainError, fail
from smtrain.passes.compose import Request, as_typed
from smtrain.pipeline import Compiled, compile_run
from smtrain.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class GridPoint:
    """One point.

    Attributes:
      overrides: all of them, as typed.
      varied: those that differ from point to point.
    """

    overrides: tuple[str, ...]
    varied: tuple[str, ...]

    def named(self, problem: Problem) -> Problem:
        """Returns the problem, saying at which point of the sweep it is."""
        return replace(problem, what=f"{problem.what} (At {', '.join(self.varied)}.)")


def points_of(hydra: Hydra, request: Request, overrides: list[str]) -> list[GridPoint]:
    """Returns the points of a grid sweep; none where an optimising sweeper chooses them as it goes."""
    try:
        config = hydra.compose_config(
            config_name=request.config_name,
            overrides=overrides,
            run_mode=RunMode.MULTIRUN,
            with_log_configuration=False,
        )
    except (AttributeError, AssertionError) as error:
        # What Hydra 1.3.8 raises for `hydra.sweeper.params=…` on the command line, where that is null at first.
        what = f"Hydra cannot compose the sweep: {str(error).partition(chr(10))[0]}."
        raise fail(what, "Set hydra.sweeper.params in a config file, or sweep on the command line.") from error
    if not str(config.hydra.sweeper._target_).endswith("BasicSweeper"):
        return []
    parser = OverridesParser.create(config_loader=hydra.config_loader)
    fixed = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    parsed = parser.parse_overrides([*fixed, *config.hydra.overrides.task])
    varied = {override.get_key_element() for override in parsed if override.is_sweep_override()}
    return [
        GridPoint(
            overrides=tuple(map(as_typed, point)),
            varied=tuple(as_typed(text) for text in point if text.partition("=")[0] in varied),
        )
        for batch in BasicSweeper.split_arguments(parsed, None)
        for point in batch
    ]


def compile_all(points: list[GridPoint], request: Request) -> list[Compiled]:
    """Compiles every point; a problem that all of them have is told once.

    Raises:
      SmtrainError: with the errors of every point.
    """
    compiled: list[Compiled] = []
    found: dict[Problem, list[GridPoint]] = {}
    for point in points:
        try:
            compiled.append(compile_run(replace(request, overrides=point.overrides), Registry()))
        except SmtrainError as error:
            for problem in error.problems:
                if problem.is_error:
                    found.setdefault(problem, []).append(point)
    if found:
        everywhere = len(points)
        raise SmtrainError(
            problem if len(where) == everywhere and everywhere > 1 else where[0].named(problem)
            for problem, where in found.items()
        )
    return compiled
