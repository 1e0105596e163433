"""What runs on a host: `launch.sh`, the container's entry point, and `steps.sh`, which the agent runs.

launch.sh gives every runtime variable its value and hands over to the agent; steps.sh is the program.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from smtrain.plugin import Input, Job, Program, Staging, launch_script, shell
from smtrain_trainingjob.options import TrainingJobOptions

ML_ROOT = "/opt/ml"
CHANNELS = f"{ML_ROOT}/input/data"
"""Where SageMaker puts input channels, each under its name."""

MASTER_PORT = 29_500
"""torch's own default; the agents of the hosts talk on the next one."""

_ROOT = """\
# The platform's own folder; a rehearsal without privileges moves it.
root=${SMTRAIN_ML_ROOT:-/opt/ml}
SMTRAIN_BUNDLE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"""

_TOOLKIT = """\
# The training toolkit's own, which belongs to its interpreter and begins with this folder.
unset PYTHONPATH"""

_FIND_PYTHON = """\
refuse() {{  # EXIT_CODE MESSAGE
  mkdir -p -- "$root/output"
  printf 'smtrain: %s\\n' "$2" | tee "$root/output/failure" >&2
  exit "$1"
}}
SMTRAIN_PYTHON={python}
"$SMTRAIN_PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
  refuse 69 "the image has no Python 3.10 or newer as $SMTRAIN_PYTHON: set backend.python, or take another image\""""

_HOSTS = """\
# resourceconfig.json names the hosts. They are numbered: algo-10 comes after algo-9.
read -r SMTRAIN_HOST SMTRAIN_NODE_RANK SMTRAIN_NUM_NODES SMTRAIN_MASTER_ADDR interface < <("$SMTRAIN_PYTHON" -c '
import json, re, sys
with open(sys.argv[1]) as file:
    config = json.load(file)
number = lambda host: [int(part) if part.isdigit() else part for part in re.split("([0-9]+)", host)]
hosts = sorted(config["hosts"], key=number)
host, network = config["current_host"], config.get("network_interface_name") or "eth0"
print(host, hosts.index(host), len(hosts), hosts[0], network)
' "$root/input/config/resourceconfig.json") || refuse 78 "$root/input/config/resourceconfig.json cannot be read\""""

_FOLDERS = """\
SMTRAIN_SCRATCH_DIR=${{SMTRAIN_SCRATCH_DIR:-{scratch}}}
SMTRAIN_BASE=$SMTRAIN_SCRATCH_DIR
SMTRAIN_RUN_DIR=$SMTRAIN_SCRATCH_DIR/run
SMTRAIN_WORK=$SMTRAIN_SCRATCH_DIR/work
SMTRAIN_OUTPUT_DIR=$SMTRAIN_SCRATCH_DIR/output
SMTRAIN_CHECKPOINT_DIR=$SMTRAIN_OUTPUT_DIR/checkpoints
SMTRAIN_MODEL_DIR=$SMTRAIN_OUTPUT_DIR/model
SMTRAIN_PLATFORM_MODEL_DIR=$root/model
SMTRAIN_FAILURE_FILE=$root/output/failure
SMTRAIN_RESUME=${{SMTRAIN_RESUME:-auto}}
SMTRAIN_GRACE_S={grace_s}
mkdir -p -- "$SMTRAIN_RUN_DIR" "$root/output\""""

_GPUS = """\
found=$(nvidia-smi --list-gpus 2>/dev/null | wc -l) || true
((found >= SMTRAIN_PROCS_PER_NODE)) ||
  refuse 69 "the run needs $SMTRAIN_PROCS_PER_NODE GPUs, and this host has $found\""""

_EFA = """\
# docs.aws.amazon.com/AWSEC2, "Get started with EFA and NCCL": between hosts, libfabric is to take EFA and no other.
export FI_PROVIDER=efa FI_EFA_FORK_SAFE=1"""


def channel_path(channel: str) -> str:
    """Returns bash source of the folder in which a channel is found."""
    return f'"$root"/input/data/{shlex.quote(channel)}'


def launch_sh(
    job: Job,
    program: Program,
    options: TrainingJobOptions,
    *,
    channels: Mapping[str, str],
    efa: bool,
    source: bool,
    wheels: bool,
) -> str:
    """Returns launch.sh.

    Args:
      job: the job.
      program: its program.
      options: of the backend.
      channels: input → the channel that brings it, for those that a channel brings.
      efa: whether the hosts have EFA devices.
      source: whether code of the user's comes along, in the channel `source`.
      wheels: whether wheels do, in the channel `wheels`.
    """
    accelerator = job.topology.accelerator
    parts = (
        _HEADER,
        _ROOT,
        _TOOLKIT if options.entry == "toolkit" else "",
        _FIND_PYTHON.format(python=shlex.quote(options.python)),
        _HOSTS,
        f"SMTRAIN_MASTER_PORT=${{SMTRAIN_MASTER_PORT:-{MASTER_PORT}}}\nSMTRAIN_PROCS_PER_NODE={job.topology.processes_per_node}",
        _FOLDERS.format(scratch=shlex.quote(options.scratch_dir), grace_s=options.grace_s),
        "\n".join(_inputs(program, channels)),
        'export NCCL_SOCKET_IFNAME="$interface" GLOO_SOCKET_IFNAME="$interface"',
        _EFA if efa and job.topology.nodes > 1 else "",
        'export CUDA_VISIBLE_DEVICES=""' if accelerator == "cpu" else _GPUS if accelerator == "gpu" else "",
        f'export PYTHONPATH={channel_path("source")}"${{PYTHONPATH:+:$PYTHONPATH}}"' if source else "",
        f"export SMTRAIN_WHEELS_DIR={channel_path('wheels')}" if wheels else "",
        f"export SMTRAIN_LIBRARY={channel_path('library')}" if program.library else "",
        _export(program, channels),
        _HAND_OVER,
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def steps_sh(program: Program) -> str:
    """Returns steps.sh."""
    return launch_script.render(program, bindings=_INHERITED)


_HAND_OVER = """\
exec "$SMTRAIN_PYTHON" "$root"/input/data/agent "$SMTRAIN_BUNDLE/agent.json" -- bash "$SMTRAIN_BUNDLE/steps.sh\""""

_HEADER = """\
#!/usr/bin/env bash
# The container's entry point, on every host: gives each variable of the run its value here, then hands over to the
# agent, which brings the inputs, runs steps.sh, and takes the results away.
# Written by smtrain; the same configuration gives the same file.
set -euo pipefail"""

_INHERITED = """\
: "${SMTRAIN_RUN_DIR:?is set by launch.sh}\""""


def _inputs(program: Program, channels: Mapping[str, str]) -> Iterator[str]:
    for item in program.inputs:
        variable = shell.input_variable(item.name)
        if item.name in channels:
            yield from _from_channel(item, variable, channels[item.name])
        elif item.staging is Staging.IN_PLACE:
            message = shlex.quote(f"input {item.name}: there is nothing at ")
            # Whoever rehearses may say that it is elsewhere.
            yield f"{variable}=${{{variable}:-{launch_script.place(item.uri)}}}"
            yield f'[[ -e ${variable} ]] || refuse {launch_script.MISSING_INPUT} {message}"${variable}"'


def _from_channel(item: Input, variable: str, channel: str) -> Iterator[str]:
    yield f"{variable}={channel_path(channel)}"
    if item.staging is Staging.BUNDLED:
        if len(item.files) == 1:
            yield f"{variable}+=/{shlex.quote(item.files[0].path.name)}"
        return
    # An S3 prefix may be one object, which then lies in the channel's folder under its own name.
    name = shlex.quote(item.uri.rstrip("/").rpartition("/")[2])
    yield f"[[ ! -f ${variable}/{name} ]] || {variable}+=/{name}"


def _export(program: Program, channels: Mapping[str, str]) -> str:
    bound = [
        shell.input_variable(item.name)
        for item in program.inputs
        if item.name in channels or item.staging is Staging.IN_PLACE
    ]
    names = sorted((*_EXPORTED, *bound))
    rows, row = [], "export"
    for name in names:
        if len(row) + len(name) > _WIDTH:
            rows.append(row)
            row = " "
        row += f" {name}"
    return " \\\n".join((*rows, row))


_WIDTH = 110
_EXPORTED = (
    "SMTRAIN_BASE", "SMTRAIN_BUNDLE", "SMTRAIN_CHECKPOINT_DIR", "SMTRAIN_FAILURE_FILE", "SMTRAIN_GRACE_S",
    "SMTRAIN_HOST", "SMTRAIN_MASTER_ADDR", "SMTRAIN_MASTER_PORT", "SMTRAIN_MODEL_DIR", "SMTRAIN_NODE_RANK",
    "SMTRAIN_NUM_NODES", "SMTRAIN_OUTPUT_DIR", "SMTRAIN_PLATFORM_MODEL_DIR", "SMTRAIN_PROCS_PER_NODE",
    "SMTRAIN_PYTHON", "SMTRAIN_RESUME", "SMTRAIN_RUN_DIR", "SMTRAIN_SCRATCH_DIR", "SMTRAIN_WORK",
)  # fmt: skip
