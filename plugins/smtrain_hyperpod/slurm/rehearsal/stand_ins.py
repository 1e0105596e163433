"""Stand-ins for the commands of Slurm that job.sbatch calls, for a machine that has no Slurm."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_SRUN = r"""#!/usr/bin/env bash
# Stands in for srun: starts the command once for each node, all on this machine, and ends with the highest exit code.
set -euo pipefail
trap '' USR1
nodes=$SLURM_NNODES
output=
while (($#)); do
  case $1 in
    --nodes=*) nodes=${1#*=} ;;
    --output=*) output=${1#*=} ;;
    --*) ;;
    *) break ;;
  esac
  shift
done
output=${output//%j/$SLURM_JOB_ID}
tasks=()
for ((node = 0; node < nodes; node++)); do
  (
    export SLURM_NODEID=$node SLURM_PROCID=$node SLURM_LOCALID=0 SLURMD_NODENAME=node-$node
    export SLURM_NNODES=$nodes SLURM_NTASKS=$nodes
    log=${output//%n/$node}
    # Not through a pipe, which would end with the exit code of what reads it.
    exec "$@" > >(tee -a -- "${log:-/dev/null}" | sed -u "s/^/node-$node  /") 2>&1
  ) &
  tasks+=("$!")
done
highest=0
for task in "${tasks[@]}"; do
  code=0
  wait "$task" || code=$?
  ((code <= highest)) || highest=$code
done
exit "$highest"
"""

_SCONTROL = r"""#!/usr/bin/env bash
# Stands in for scontrol: all nodes are this machine, and nothing is requeued.
case "$1 $2" in
  "show hostnames") for ((node = 0; node < SLURM_NNODES; node++)); do echo localhost; done ;;
  "show config") ;;
  requeue*)
    echo "smtrain: here Slurm would put the job back into the queue" >&2
    exit 1
    ;;
esac
"""

_DOCKER = r"""#!/usr/bin/env bash
# Stands in for docker: the script that the container would run, without it.
exec bash "${@: -1}"
"""


def write(folder: Path, *, docker: bool) -> Path:
    """Writes the commands into a folder, which is to come first on PATH, and returns it.

    Args:
      folder: is made.
      docker: whether containers are left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    commands = {"srun": _SRUN, "scontrol": _SCONTROL, **({"docker": _DOCKER} if docker else {})}
    for name, text in commands.items():
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o755)
    return folder


def job_variables(nodes: int, job: int) -> Mapping[str, str]:
    """Returns what Slurm tells the script of a job."""
    return {
        "SLURM_JOB_ID": str(job),
        "SLURM_JOB_NODELIST": "localhost",
        "SLURM_NNODES": str(nodes),
        "SLURM_NODEID": "0",
    }
