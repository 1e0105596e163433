"""What runs in a pod: `launch.sh` and `steps.sh`, and `pod.sh` in front of them under HyperPod's operator.

launch.sh gives every runtime variable its value and hands over to the agent; steps.sh is the program.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from smtrain.plugin import RUN_ID, Input, Job, Program, Staging, launch_script, shell
from smtrain_hyperpod.eks import layout
from smtrain_hyperpod.eks.options import EksOptions

TERMINATION_LOG = "/dev/termination-log"
"""What a container writes there, its pod's status shows: kubernetes.io, "Determine the Reason for Pod Failure"."""

_HEADER = """\
#!/usr/bin/env bash
# {what}
# Written by smtrain; the same configuration gives the same file.
set -euo pipefail

SMTRAIN_BUNDLE=$(cd -- "$(dirname -- "${{BASH_SOURCE[0]}}")" && pwd)
SMTRAIN_FAILURE_FILE=${{SMTRAIN_FAILURE_FILE:-{termination_log}}}
refuse() {{  # EXIT_CODE MESSAGE
  printf 'smtrain: %s\\n' "$2" >&2
  if [[ -w $SMTRAIN_FAILURE_FILE ]]; then printf '%s\\n' "$2" >"$SMTRAIN_FAILURE_FILE"; fi
  exit "$1"
}}

SMTRAIN_PYTHON={python}
"$SMTRAIN_PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
  refuse 69 "the image has no Python 3.10 or newer as $SMTRAIN_PYTHON: set backend.python, or take another image\""""

_NO_LAUNCHER = """\
# What the operator says of this pod, a launcher would take for itself, and a training for one process of many.
unset RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE GROUP_RANK GROUP_WORLD_SIZE ROLE_NAME ROLE_RANK ROLE_WORLD_SIZE \\
  MASTER_ADDR MASTER_PORT "${!PET_@}" "${!TORCHELASTIC_@}\""""

_FOLDERS = """\
SMTRAIN_SCRATCH_DIR=${{SMTRAIN_SCRATCH_DIR:-{scratch}}}
SMTRAIN_BASE=$SMTRAIN_SCRATCH_DIR
SMTRAIN_RUN_DIR=$SMTRAIN_SCRATCH_DIR/run
SMTRAIN_WORK=$SMTRAIN_SCRATCH_DIR/work
SMTRAIN_OUTPUT_DIR=${{SMTRAIN_OUTPUT_DIR:-{output}}}
SMTRAIN_CHECKPOINT_DIR=$SMTRAIN_OUTPUT_DIR/checkpoints
SMTRAIN_MODEL_DIR=$SMTRAIN_OUTPUT_DIR/model
SMTRAIN_PROCS_PER_NODE={processes}
SMTRAIN_RESUME=${{SMTRAIN_RESUME:-auto}}
SMTRAIN_GRACE_S={grace_s}
SMTRAIN_HOST=${{SMTRAIN_HOST:-$HOSTNAME}}
mkdir -p -- "$SMTRAIN_RUN_DIR" || refuse 73 "$SMTRAIN_SCRATCH_DIR cannot be written: see backend.scratch\""""

_UNPACK = """\
unpack() {  # NAME
  cat -- "$SMTRAIN_BUNDLE/$1".zip* >"$SMTRAIN_RUN_DIR/$1.zip"
  rm -rf -- "${SMTRAIN_SCRATCH_DIR:?}/$1"
  "$SMTRAIN_PYTHON" -m zipfile -e "$SMTRAIN_RUN_DIR/$1.zip" "$SMTRAIN_SCRATCH_DIR/$1"
}"""

_NETWORK = """\
# Between the pods: the interface of the default route.
interface=eth0
while read -r name destination _; do
  if [[ $destination == 00000000 ]]; then interface=$name; fi
done </proc/net/route
export NCCL_SOCKET_IFNAME=${NCCL_SOCKET_IFNAME:-$interface} GLOO_SOCKET_IFNAME=${GLOO_SOCKET_IFNAME:-$interface}"""

_GPUS = """\
found=$(nvidia-smi --list-gpus 2>/dev/null | wc -l) || true
((found >= SMTRAIN_PROCS_PER_NODE)) ||
  refuse 69 "the run needs $SMTRAIN_PROCS_PER_NODE GPUs, and this pod has $found\""""

_EFA = """\
# docs.aws.amazon.com/AWSEC2, "Get started with EFA and NCCL": between nodes, libfabric is to take EFA and no other.
export FI_PROVIDER=efa FI_EFA_FORK_SAFE=1"""

_HAND_OVER = """\
exec "$SMTRAIN_PYTHON" "$SMTRAIN_BUNDLE/agent.zip" "$SMTRAIN_BUNDLE/agent.json" -- bash "$SMTRAIN_BUNDLE/steps.sh\""""


def header(what: str, options: EksOptions) -> str:
    """Returns the beginning of a script of the pod, which says what it is for."""
    return _HEADER.format(what=what, python=shlex.quote(options.python), termination_log=TERMINATION_LOG)


def launch_sh(job: Job, program: Program, options: EksOptions, *, node: str, efa: bool, packed: tuple[str, ...]) -> str:
    """Returns launch.sh.

    Args:
      job: the job.
      program: its program.
      options: of the backend.
      node: bash source that binds rank, number of nodes, and the first one's address and port.
      efa: whether the pods have EFA devices.
      packed: names of the archives that come in ConfigMaps, beside the agent's.
    """
    accelerator = job.topology.accelerator
    parts = (
        header("Gives each variable of the run its value in this pod, then hands over to the agent.", options),
        node,
        _NO_LAUNCHER,
        _folders(job, options),
        "\n".join((_UNPACK, *(f"unpack {name}" for name in packed))) if packed else "",
        "\n".join(_inputs(program, packed)),
        _NETWORK if job.topology.nodes > 1 or options.elastic else "",
        _EFA if efa else "",
        'export CUDA_VISIBLE_DEVICES=""' if accelerator == "cpu" else _GPUS if accelerator == "gpu" else "",
        'export SMTRAIN_LIBRARY="$SMTRAIN_SCRATCH_DIR/library"' if program.library else "",
        _export(program, packed),
        _HAND_OVER,
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def steps_sh(program: Program, options: EksOptions) -> str:
    """Returns steps.sh."""
    bindings = ': "${SMTRAIN_RUN_DIR:?is set by launch.sh}"'
    if options.source_dir is not None:
        variable = shell.input_variable(layout.SOURCE_INPUT)
        bindings += f'\nexport PYTHONPATH="${variable}${{PYTHONPATH:+:$PYTHONPATH}}"'
    return launch_script.render(program, bindings=bindings)


def output_folder(job: Job) -> str:
    """Returns the folder that keeps the outputs, on a file system of the pods; "" when that is scratch."""
    given = job.run.storage.output or ""
    return "" if given.startswith("s3://") else given.rstrip("/")


def _folders(job: Job, options: EksOptions) -> str:
    kept = output_folder(job)
    return _FOLDERS.format(
        scratch=shlex.quote(options.scratch.path),
        output=f"{launch_script.place(kept)}/{RUN_ID}" if kept else "$SMTRAIN_SCRATCH_DIR/output",
        processes=job.topology.processes_per_node,
        grace_s=options.grace_s,
    )


def _inputs(program: Program, packed: tuple[str, ...]) -> Iterator[str]:
    for item in program.inputs:
        variable = shell.input_variable(item.name)
        if item.staging is Staging.IN_PLACE:
            message = shlex.quote(f"input {item.name}: there is nothing at ")
            # Whoever rehearses may say that it is elsewhere.
            yield f"{variable}=${{{variable}:-{launch_script.place(item.uri)}}}"
            yield f'[[ -e ${variable} ]] || refuse {launch_script.MISSING_INPUT} {message}"${variable}"'
        elif item.staging is Staging.BUNDLED and layout.INPUTS in packed:
            yield f'{variable}="$SMTRAIN_SCRATCH_DIR"/{shlex.quote(_packed_path(item))}'
    if layout.SOURCE in packed:
        yield f'{shell.input_variable(layout.SOURCE_INPUT)}="$SMTRAIN_SCRATCH_DIR/{layout.SOURCE}"'


def _packed_path(item: Input) -> str:
    folder = f"{layout.INPUTS}/{item.name}"
    return f"{folder}/{item.files[0].path.name}" if len(item.files) == 1 else folder


def _export(program: Program, packed: tuple[str, ...]) -> str:
    bound = [
        shell.input_variable(item.name)
        for item in program.inputs
        if item.staging is Staging.IN_PLACE or (item.staging is Staging.BUNDLED and layout.INPUTS in packed)
    ]
    if layout.SOURCE in packed:
        bound.append(shell.input_variable(layout.SOURCE_INPUT))
    rows, row = [], "export"
    for name in sorted((*_EXPORTED, *bound)):
        if len(row) + len(name) > _WIDTH:
            rows.append(row)
            row = " "
        row += f" {name}"
    return " \\\n".join((*rows, row))


_WIDTH = 110
_EXPORTED = (
    "SMTRAIN_BASE", "SMTRAIN_BUNDLE", "SMTRAIN_CHECKPOINT_DIR", "SMTRAIN_FAILURE_FILE", "SMTRAIN_GRACE_S",
    "SMTRAIN_HOST", "SMTRAIN_MASTER_ADDR", "SMTRAIN_MASTER_PORT", "SMTRAIN_MODEL_DIR", "SMTRAIN_NODE_RANK",
    "SMTRAIN_NUM_NODES", "SMTRAIN_OUTPUT_DIR", "SMTRAIN_PROCS_PER_NODE", "SMTRAIN_PYTHON", "SMTRAIN_RESUME",
    "SMTRAIN_RUN_DIR", "SMTRAIN_SCRATCH_DIR", "SMTRAIN_WORK",
)  # fmt: skip
