"""The passes in order; the page to read first.

    compose → validate → resolve → lower (trainer) → lower (backend) → check → emit → submit

Each takes what the one before it returned. Problems are gathered as long as later passes still make sense, located in
the user's files, and raised together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

from smtrain import strategy_check
from smtrain.errors import Problem, SmtrainError
from smtrain.interfaces import ChecksJobs
from smtrain.manifest import Manifest, identified, manifest_of
from smtrain.memory import plan as memory_plan
from smtrain.origins import Origins
from smtrain.passes.check import check
from smtrain.passes.compose import Composed, Request, compose
from smtrain.passes.emit import emit
from smtrain.passes.lower import to_bundle, to_demands, to_program
from smtrain.passes.resolve import resolve
from smtrain.passes.validate import Execution, validate
from smtrain.registry import Registry
from smtrain.spec import Bundle, Job, Program, Run

STORE = ".store"
"""Folder beside the runs that keeps one copy of each local file by digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A compiled run, every stage of it, nothing written yet."""

    composed: Composed
    execution: Execution
    job: Job
    program: Program
    bundle: Bundle
    manifest: Manifest
    warnings: tuple[Problem, ...]

    @property
    def run_id(self) -> str:
        """Name, digest and attempt: the name of the run's folder."""
        return self.manifest.run_id

    @property
    def run_dir(self) -> Path:
        """The run's folder."""
        return Path(self.execution.runs_dir) / self.run_id


@dataclass(slots=True)
class _Findings:
    """Gathers problems, locates them, and stops the compile when one is an error."""

    origins: Origins
    found: list[Problem] = field(default_factory=list)

    def add(self, problems: Iterable[Problem]) -> None:
        """Adds problems, other than what follows from an error found at the same key before."""
        blamed = {problem.key for problem in self.found if problem.is_error and problem.key}
        for problem in problems:
            if problem.key in blamed:
                continue
            where = problem.where or (self.origins.of(problem.key) if problem.key else None)
            located = replace(problem, where=where)
            if located not in self.found:
                self.found.append(located)

    def stop_on_errors(self) -> None:
        if any(problem.is_error for problem in self.found):
            raise SmtrainError(self.found)


def compile_run(request: Request, registry: Registry) -> Compiled:
    """Compiles a run without writing anything.

    Raises:
      SmtrainError: with every problem that could be found, located.
    """
    composed = compose(replace(request, search_paths=(*request.search_paths, *registry.config_paths)))
    findings = _Findings(origins=composed.origins)
    findings.add(broken.problem() for broken in registry.broken)
    findings.add(composed.problems)
    if not composed.tree:
        findings.stop_on_errors()
    run, execution = _validated(composed, registry, findings)
    job = _resolved(run, registry, findings)
    program, bundle = _lowered(job, registry, findings)
    bundle, run_id = identified(bundle, execution.attempt)
    findings.add(memory_plan.check(job, program))
    findings.add(check(bundle))
    findings.stop_on_errors()
    findings.add(broken.problem() for broken in registry.broken)
    return Compiled(
        composed=composed,
        execution=execution,
        job=job,
        program=program,
        bundle=bundle,
        manifest=manifest_of(bundle, run_id, _hands(registry, run.trainer.name, run.backend.name)),
        warnings=tuple(findings.found),
    )


def _validated(composed: Composed, registry: Registry, findings: _Findings) -> tuple[Run, Execution]:
    validated = validate(composed, registry)
    findings.add(broken.problem() for broken in registry.broken)  # those, too, whose hooks raised by now
    findings.add(validated.problems)
    if validated.run is None:
        findings.stop_on_errors()
        message = "validate returned neither a run nor an error"
        raise AssertionError(message)
    return validated.run, validated.execution


def _resolved(run: Run, registry: Registry, findings: _Findings) -> Job:
    """Returns the job, once nobody objects to it: neither trainer nor backend, nor an organisation's own rules."""
    with registry.blaming(registry.trainers[run.trainer.name]):
        trainer = registry.trainer(run.trainer.name)
        demands = to_demands(run, trainer)
    resolved = resolve(run, demands)
    findings.add(resolved.problems)
    with registry.blaming(registry.trainers[run.trainer.name]):
        findings.add(trainer.check(resolved.job, run.trainer.options))
    with registry.blaming(registry.backends[run.backend.name]):
        backend = registry.backend(run.backend.name)
        if isinstance(backend, ChecksJobs):
            findings.add(backend.check_job(resolved.job, run.backend.options))
    findings.add(strategy_check.check(resolved.job))
    findings.add(registry.checks(resolved.job))
    findings.stop_on_errors()
    return replace(resolved.job, warnings=tuple(findings.found))


def _lowered(job: Job, registry: Registry, findings: _Findings) -> tuple[Program, Bundle]:
    run = job.run
    with registry.blaming(registry.trainers[run.trainer.name]):
        program = to_program(job, registry.trainer(run.trainer.name))
    with registry.blaming(registry.backends[run.backend.name]):
        backend = registry.backend(run.backend.name)
        findings.add(backend.check(job, program, run.backend.options))
        findings.stop_on_errors()
        return program, to_bundle(job, program, backend)


def write(compiled: Compiled) -> Path:
    """Writes the bundle of a compiled run and returns its folder."""
    store = Path(compiled.execution.runs_dir) / STORE
    return emit(compiled.bundle, compiled.manifest, compiled.run_dir / "bundle", store=store)


def _hands(registry: Registry, trainer: str, backend: str) -> dict[str, str]:
    """Returns distribution → version of all that had a hand in the bundle."""
    sources = (registry.source_of(registry.trainers[trainer]), registry.source_of(registry.backends[backend]))
    return {"smtrain": version("smtrain"), **{source.name: source.version for source in sources}}
