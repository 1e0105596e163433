"""What runs on the nodes: `setup.sh` on the first alone, `node.sh` on each; both begin with `environment.sh`."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator

from smtrain.plugin import RUN_ID, Input, Job, Program, Staging, instances, launch_script, shell
from smtrain_hyperpod.slurm.options import SlurmOptions

NO_DEVICE = 69
"""Exit code when a node lacks what the run needs: EX_UNAVAILABLE of sysexits.h."""

BAD_PLACE = 78
"""Exit code when the configuration is not as it must be: EX_CONFIG."""


def environment_sh(job: Job, options: SlurmOptions) -> str:
    """Returns environment.sh."""
    parts = (
        _ENVIRONMENT,
        _REFUSE,
        _unless_rehearsed(_prologue(options)),
        _unless_rehearsed(textwrap.indent(_env_file(options), "  ")),
        f"export AWS_DEFAULT_REGION={shlex.quote(options.region)}" if options.region else "",
        _FOLDERS.format(scratch=options.scratch_dir.rstrip("/"), run_id=RUN_ID),
        f"SMTRAIN_GRACE_S={options.grace_s}",
        f"SMTRAIN_PROCS_PER_NODE={job.topology.processes_per_node}",
        _unless_rehearsed(textwrap.indent(_python(options), "  "), otherwise=_REHEARSED),
        _EXPORT,
    )
    return _joined(parts)


def setup_sh(options: SlurmOptions) -> str:
    """Returns setup.sh."""
    make = _MAKE_VENV.format(venv=shlex.quote(options.venv)) if options.venv else ""
    return _joined((_SETUP, _ALONE.format(place=shlex.quote(_lock(options))), make, _SOURCE, _VERSION, _INSTALL))


def node_sh(job: Job, program: Program, options: SlurmOptions, *, source: bool, split: bool) -> str:
    """Returns node.sh.

    Args:
      job: the job.
      program: its program, for the inputs.
      options: of the backend.
      source: whether code of the user's comes along.
      split: whether the job says which steps to run.
    """
    accelerator = job.topology.accelerator
    parts = (
        _NODE,
        _SOURCE,
        _VERSION,
        "\n".join(_inputs(program)),
        _EFA if _has_efa(job) and job.topology.nodes > 1 else "",
        'export CUDA_VISIBLE_DEVICES=""' if accelerator == "cpu" else _GPUS if accelerator == "gpu" else "",
        _THREADS,
        'export PYTHONPATH="$SMTRAIN_BUNDLE/source${PYTHONPATH:+:$PYTHONPATH}"' if source else "",
        _HAND_OVER.format(steps="${SMTRAIN_STEPS:-steps.sh}" if split else "steps.sh"),
    )
    return _joined(parts)


def steps_sh(program: Program, *, continued: bool = False) -> str:
    """Returns steps.sh, the program itself, or a part of it, before which others ran if it is `continued`."""
    return launch_script.render(program, bindings=': "${SMTRAIN_RUN_DIR:?is set by node.sh}"', continued=continued)


def _unless_rehearsed(text: str, *, otherwise: str = "") -> str:
    """Returns source that a rehearsal without Slurm leaves out: this machine need not have what the nodes have."""
    if not text:
        return ""
    other = f"else\n  {otherwise}\n" if otherwise else ""
    return f"if [[ -z ${{SMTRAIN_REHEARSAL_PYTHON:-}} ]]; then\n{text}\n{other}fi"


def _prologue(options: SlurmOptions) -> str:
    # As it is: what is indented may be another text. Modules read variables that are not set.
    return "\n".join(("set +u", *options.prologue, "set -u")) if options.prologue else ""


_REHEARSED = "SMTRAIN_PYTHON=$SMTRAIN_REHEARSAL_PYTHON"


def _joined(parts: tuple[str, ...]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"


_ENVIRONMENT = """\
#!/usr/bin/env bash
# What is the same for every node: where things are, and which interpreter. setup.sh and node.sh read it.
# Written by smtrain; the same configuration gives the same file."""

_REFUSE = """\
refuse() {  # EXIT_CODE MESSAGE
  printf 'smtrain: %s\\n' "$2" >&2
  mkdir -p -- "$SMTRAIN_RUN/node-$SLURM_NODEID"
  printf '%s\\n' "$2" >"$SMTRAIN_RUN/node-$SLURM_NODEID/failure"
  # The other nodes need not wait for this one.
  printf '%s %s\\n' "$1" "stopped because node $SLURM_NODEID could not begin: $2" >"$SMTRAIN_END_FILE"
  exit "$1"
}"""

_ENV_FILE = """\
env_file={place}
[[ -r $env_file ]] || refuse {code} "there is no file $env_file to be read: backend.env_file"
# Secrets are in it.
[[ $(stat -L -c %a -- "$env_file") == *00 ]] ||
  refuse {code} "others may read $env_file: chmod 600 $env_file"
set -a
# shellcheck source=/dev/null
source "$env_file"
set +a"""

_FOLDERS = """\
SMTRAIN_NODE_RANK=$SLURM_NODEID
SMTRAIN_NUM_NODES=$SLURM_NNODES
SMTRAIN_HOST=${{SLURMD_NODENAME:-$HOSTNAME}}
SMTRAIN_BASE=$SMTRAIN_RUN
SMTRAIN_RUN_DIR=$SMTRAIN_RUN/node-$SLURM_NODEID
SMTRAIN_WORK=$SMTRAIN_RUN_DIR/work
SMTRAIN_FAILURE_FILE=$SMTRAIN_RUN_DIR/failure
# Of this node alone, even where several nodes are one machine.
SMTRAIN_SCRATCH_DIR={scratch}/{run_id}/node-$SLURM_NODEID
[[ -z ${{SMTRAIN_REHEARSAL:-}} ]] || SMTRAIN_SCRATCH_DIR=$SMTRAIN_RUN/scratch/node-$SLURM_NODEID
# What goes to S3 is made on the node's own disk.
SMTRAIN_OUTPUT_DIR=${{SMTRAIN_OUTPUT_DIR:-$SMTRAIN_SCRATCH_DIR/output}}
SMTRAIN_CHECKPOINT_DIR=$SMTRAIN_OUTPUT_DIR/checkpoints
SMTRAIN_MODEL_DIR=$SMTRAIN_OUTPUT_DIR/model
SMTRAIN_RESUME=auto
mkdir -p -- "$SMTRAIN_RUN_DIR" "$SMTRAIN_SCRATCH_DIR\""""

_CONDA = """\
# conda's own scripts read variables that are not set.
set +u
eval "$(conda shell.bash hook)" || refuse {code} "there is no conda on this node: backend.conda, backend.prologue"
conda activate {name} || refuse {code} "conda has no environment "{name}
set -u"""

_VENV = """\
SMTRAIN_PYTHON={python}
export VIRTUAL_ENV={venv} PATH={venv}/bin:"$PATH\""""

_PATH = """\
# The programs of its environment are found as if it were activated.
if [[ $SMTRAIN_PYTHON == */* ]]; then export PATH="${SMTRAIN_PYTHON%/*}:$PATH"; fi"""

_EXPORT = """\
export SMTRAIN_BASE SMTRAIN_CHECKPOINT_DIR SMTRAIN_FAILURE_FILE SMTRAIN_GRACE_S SMTRAIN_HOST SMTRAIN_MODEL_DIR \\
  SMTRAIN_NODE_RANK SMTRAIN_NUM_NODES SMTRAIN_OUTPUT_DIR SMTRAIN_PROCS_PER_NODE SMTRAIN_PYTHON SMTRAIN_RESUME \\
  SMTRAIN_RUN_DIR SMTRAIN_SCRATCH_DIR SMTRAIN_WORK"""

_SOURCE = """\
# shellcheck source=/dev/null
source "$SMTRAIN_BUNDLE/environment.sh\""""

_VERSION = """\
command -v -- "$SMTRAIN_PYTHON" >/dev/null ||
  refuse 69 "there is no interpreter $SMTRAIN_PYTHON on $SMTRAIN_HOST: backend.python, backend.venv or backend.conda"
"$SMTRAIN_PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
  refuse 69 "$SMTRAIN_PYTHON on $SMTRAIN_HOST is no Python 3.10 or newer: set backend.python\""""

_SETUP = """\
#!/usr/bin/env bash
# On the first node, before the others begin: sets up the environment that they share.
# Written by smtrain; the same configuration gives the same file.
set -euo pipefail

# A rehearsal without Slurm takes the interpreter of whoever rehearses, and leaves it as it is.
[[ -z ${SMTRAIN_REHEARSAL_PYTHON:-} ]] || exit 0"""

_ALONE = """\
# Other jobs may be at the same environment; file systems without locks let them.
lock={place}
mkdir -p -- "${{lock%/*}}"
exec {{held}}>>"$lock"
flock "$held" || true"""

_MAKE_VENV = """\
if [[ ! -x {venv}/bin/python ]]; then
  python3 -m venv {venv}
fi"""

_INSTALL = """\
exec "$SMTRAIN_PYTHON" "$SMTRAIN_BUNDLE/agent" "$SMTRAIN_BUNDLE/setup.json" --install"""

_NODE = """\
#!/usr/bin/env bash
# On every node: gives each variable of the run its value here, then hands over to the agent, which brings the inputs,
# runs steps.sh, and keeps the results.
# Written by smtrain; the same configuration gives the same file.
set -euo pipefail"""

_EFA = """\
# docs.aws.amazon.com/AWSEC2, "Get started with EFA and NCCL": between hosts, libfabric is to take EFA and no other.
export FI_PROVIDER=efa FI_EFA_FORK_SAFE=1"""

_GPUS = """\
found=$(nvidia-smi --list-gpus 2>/dev/null | wc -l) || true
((found >= SMTRAIN_PROCS_PER_NODE)) ||
  refuse 69 "the run needs $SMTRAIN_PROCS_PER_NODE GPUs, and $SMTRAIN_HOST has $found for it\""""

_THREADS = """\
# Without this every process would start as many threads as there are cores.
if [[ -z ${OMP_NUM_THREADS:-} ]]; then
  OMP_NUM_THREADS=$((${SLURM_CPUS_ON_NODE:-1} / SMTRAIN_PROCS_PER_NODE))
  ((OMP_NUM_THREADS)) || OMP_NUM_THREADS=1
fi
export OMP_NUM_THREADS"""

_HAND_OVER = """\
exec "$SMTRAIN_PYTHON" "$SMTRAIN_BUNDLE/agent" "$SMTRAIN_BUNDLE/agent.json" -- bash "$SMTRAIN_BUNDLE/{steps}\""""


def _lock(options: SlurmOptions) -> str:
    # Beside the environment: two runs that share it share the lock.
    return f"{(options.venv or options.shared_dir).rstrip('/')}.smtrain-setup"


def _env_file(options: SlurmOptions) -> str:
    if options.env_file is None:
        return ""
    return _ENV_FILE.format(place=launch_script.place(options.env_file), code=BAD_PLACE)


def _python(options: SlurmOptions) -> str:
    if options.conda is not None:
        chosen = f"SMTRAIN_PYTHON={shlex.quote(options.python or 'python')}"
        return f"{_CONDA.format(name=shlex.quote(options.conda), code=NO_DEVICE)}\n{chosen}"
    if options.venv is not None:
        venv = shlex.quote(options.venv.rstrip("/"))
        python = shlex.quote(options.python) if options.python else f"{venv}/bin/python"
        return _VENV.format(venv=venv, python=python)
    return f"SMTRAIN_PYTHON={shlex.quote(options.python or 'python3')}\n{_PATH}"


def _inputs(program: Program) -> Iterator[str]:
    for item in program.inputs:
        variable = shell.input_variable(item.name)
        if item.staging is Staging.BUNDLED:
            yield f'export {variable}="$SMTRAIN_BUNDLE"/{shlex.quote(_bundled(item))}'
        elif item.staging is Staging.IN_PLACE:
            message = shlex.quote(f"input {item.name}: there is nothing at ")
            # Whoever rehearses may say that it is elsewhere.
            yield f"export {variable}=${{{variable}:-{launch_script.place(item.uri)}}}"
            yield f"[[ -e ${variable} ]] ||"
            yield f'  refuse {launch_script.MISSING_INPUT} {message}"${variable} on $SMTRAIN_HOST"'


def _bundled(item: Input) -> str:
    folder = f"inputs/{item.name}"
    return f"{folder}/{item.files[0].path.name}" if len(item.files) == 1 else folder


def _has_efa(job: Job) -> bool:
    name = job.run.compute.instance_type
    machine = instances.find(name) if name else None
    return machine is not None and machine.efa_interfaces > 0
