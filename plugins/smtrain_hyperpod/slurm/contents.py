"""What lies in the bundle: the scripts, the agent, the program's files, rows, the user's code and wheels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from smtrain.plugin import (
    RUN_ID,
    BundleFile,
    Input,
    Job,
    Json,
    Problem,
    Program,
    Staging,
    agent_document,
    agent_files,
    source_files,
)
from smtrain_hyperpod.slurm import container, job_script, node_scripts, parts, submit_script
from smtrain_hyperpod.slurm.options import SlurmOptions
from smtrain_hyperpod.slurm.parts import Part

TARGET = "target.json"
"""Tells whoever submits and follows the job where it is."""

_REQUIREMENTS = "requirements.txt"


def files(job: Job, program: Program, options: SlurmOptions) -> tuple[BundleFile, ...]:
    """Returns the bundle's files."""
    source, _ = sources(options)
    once = sets_up_once(program, options)
    split = parts.parts(job, program, options)
    scripts = {
        **dict(_jobs(job, program, split, once=once)),
        "environment.sh": node_scripts.environment_sh(job, options),
        "setup.sh": node_scripts.setup_sh(options) if once else "",
        "node.sh": node_scripts.node_sh(job, program, options, source=bool(source), split=len(split) > 1),
        "docker.sh": container.docker_sh(job, options),
        "steps.sh": node_scripts.steps_sh(program),
        "submit.sh": submit_script.render(job, options, later=tuple(part.name for part in split[1:])),
    }
    return (
        *(BundleFile(path=name, content=text.encode(), executable=True) for name, text in scripts.items() if text),
        BundleFile(path=TARGET, content=_json(target(job, program, options))),
        *_documents(job, program, options, once=once),
        *agent_files.agent_files("agent"),
        *(BundleFile(path=f"program/{file.path}", content=file.text.encode()) for file in program.files),
        *(BundleFile(path=f"library/{file.path}", content=file.text.encode()) for file in program.library),
        *(file for item in program.inputs for file in _rows(item)),
        *source,
        *wheels(options)[0],
    )


def _jobs(job: Job, program: Program, split: tuple[Part, ...], *, once: bool) -> Iterator[tuple[str, str]]:
    """Yields the script of each job, and that of its steps where there are several jobs."""
    for part in split:
        steps = part.steps_script if len(split) > 1 else ""
        yield part.script, job_script.render(job, program, part, once=once and not part.name, steps=steps)
        if steps:
            own = replace(program, steps=part.steps)
            yield steps, node_scripts.steps_sh(own, continued=bool(part.name))


def sets_up_once(program: Program, options: SlurmOptions) -> bool:
    """Whether one node has something to make or install for all of them, in an environment that they share."""
    shared = options.container is None if options.install.where is None else options.install.where == "once"
    installs = options.install.mode == "auto" and bool(program.needs.packages or options.install.requirements)
    return options.venv is not None or (shared and installs)


def sources(options: SlurmOptions) -> tuple[tuple[BundleFile, ...], tuple[Problem, ...]]:
    """Returns the files of the user's own code, and what is wrong with them."""
    if options.source_dir is None:
        return (), ()
    return source_files.source_files(Path(options.source_dir).expanduser(), prefix="source")


def wheels(options: SlurmOptions) -> tuple[tuple[BundleFile, ...], tuple[Problem, ...]]:
    """Returns the wheels that travel with the job, and what is wrong with them."""
    if options.install.wheels is None:
        return (), ()
    found = sorted(Path(options.install.wheels).expanduser().glob("*.whl"))
    if not found:
        what = f"There are no wheels in `{options.install.wheels}`."
        fix = f"Make them: pip download --dest {options.install.wheels} PACKAGE…"
        return (), (Problem(key="backend.install.wheels", what=what, fix=fix),)
    return tuple(BundleFile(path=f"wheels/{path.name}", content=source_files.local_file(path)) for path in found), ()


def target(job: Job, program: Program, options: SlurmOptions) -> dict[str, Json]:
    """Returns what target.json says."""
    at = job_script.places(job, options)
    return {
        "login": options.login,
        "store": f"{options.shared_dir.rstrip('/')}/store",
        "run": at.run,
        "output": at.output,
        "output_uri": at.output_uri,
        "region": options.region or "",
        "nodes": job.topology.nodes,
        "gpus": job_script.gpu_count(job),
        "partition": options.partition,
        "time": options.time,
        "array_limit": options.array_limit,
        "later": [
            {"name": part.name, "nodes": part.nodes, "partition": part.options.partition, "time": part.options.time}
            for part in parts.parts(job, program, options)[1:]
        ],
        "outputs": [
            {"name": output.name, "glob": output.checkpoint_glob, "complete": output.checkpoint_complete}
            for output in program.outputs
        ],
        "progress": program.progress.path if program.progress else "",
        "run_id": RUN_ID,
    }


def _documents(job: Job, program: Program, options: SlurmOptions, *, once: bool) -> Iterator[BundleFile]:
    install = options.install
    asked = agent_document.InstallOptions(
        enabled=install.mode == "auto",
        requirements=_REQUIREMENTS if install.requirements else "",
        index_url=install.index_url or "",
        wheels_dir="wheels" if install.wheels else "",
    )
    if install.requirements:
        yield BundleFile(path=_REQUIREMENTS, content="".join(f"{line}\n" for line in install.requirements).encode())
    if once:
        yield BundleFile(path="setup.json", content=_agent_json(job, program, options, asked))
        # What was installed is only looked for: several pips at one environment destroy it.
        asked = agent_document.InstallOptions(enabled=False)
    yield BundleFile(path="agent.json", content=_agent_json(job, program, options, asked))


def _agent_json(job: Job, program: Program, options: SlurmOptions, asked: agent_document.InstallOptions) -> bytes:
    return agent_document.document(
        program,
        secrets=job.run.secrets,
        install=asked,
        upload=agent_document.UploadOptions(
            interval_s=options.checkpoints.interval_s,
            checkpoints=options.checkpoints.upload,
            keep_checkpoints=options.checkpoints.keep,
        ),
        control=agent_document.ControlOptions(),
    )


def _rows(item: Input) -> Iterator[BundleFile]:
    if item.staging is Staging.BUNDLED:
        for file in item.files:
            yield BundleFile(path=f"inputs/{item.name}/{file.path.name}", content=file)


def _json(document: dict[str, Json]) -> bytes:
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
