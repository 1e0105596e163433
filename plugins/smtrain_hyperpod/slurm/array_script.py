"""The script of a job array, each task of which runs the `job.sbatch` of one run."""

from __future__ import annotations

from collections.abc import Sequence

from smtrain.plugin import fail
from smtrain_hyperpod.slurm import sbatch_options

_DIRECTIVE = "#SBATCH --"
_OWN = ("job-name", "chdir", "output")
"""Options of a run's script that are its own."""

_SCRIPT = """\
#!/usr/bin/env bash
# One task for each line of `runs`: it runs the job.sbatch of that run, and writes where that would write.
# Written by smtrain.
{directives}

set -euo pipefail
# Beside `runs`, wherever Slurm has put its own copy of this script.
mapfile -t runs <{folder}/bundle/runs
run=${{runs[SLURM_ARRAY_TASK_ID]%% *}}
mkdir -p -- "$run/logs"
cd -- "$run"
exec bash "$run/bundle/job.sbatch" >>"$run/logs/job-${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID.log" 2>&1
"""


def render(scripts: Sequence[str], *, name: str, folder: str, limit: int | None) -> str:
    """Returns the script.

    Args:
      scripts: the job.sbatch of each run.
      name: of the job.
      folder: of the array on the cluster.
      limit: tasks that go at a time; None is all.

    Raises:
      SmtrainError: the runs ask Slurm for different things, which one array cannot.
    """
    asked = [_asked(script) for script in scripts]
    for other in asked[1:]:
        if other != asked[0]:
            differ = " and ".join(f"`{line}`" for line in sorted(set(other) ^ set(asked[0])))
            what = f"The runs of the sweep ask for different things, which one array cannot: {differ}."
            raise fail(what, "Leave backend.array out: each is then a job of its own.", key="backend.array")
    own = {
        "job-name": name,
        "array": f"0-{len(scripts) - 1}" + (f"%{limit}" if limit else ""),
        "chdir": folder,
        # Until the task has found its run.
        "output": f"{folder}/logs/job-%A_%a.log",
    }
    directives = [*asked[0], *(sbatch_options.line(option, value) for option, value in own.items())]
    return _SCRIPT.format(directives="\n".join(directives), folder=folder)


def _asked(script: str) -> tuple[str, ...]:
    lines = (line for line in script.splitlines() if line.startswith(_DIRECTIVE))
    return tuple(line for line in lines if line.removeprefix(_DIRECTIVE).partition("=")[0] not in _OWN)
