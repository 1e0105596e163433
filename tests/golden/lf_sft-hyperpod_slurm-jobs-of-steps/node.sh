#!/usr/bin/env bash
# On every node: gives each variable of the run its value here, then hands over to the agent, which brings the inputs,
# runs steps.sh, and keeps the results.
# Written by smtrain; the same configuration gives the same file.
set -euo pipefail

# shellcheck source=/dev/null
source "$SMTRAIN_BUNDLE/environment.sh"

command -v -- "$SMTRAIN_PYTHON" >/dev/null ||
  refuse 69 "there is no interpreter $SMTRAIN_PYTHON on $SMTRAIN_HOST: backend.python, backend.venv or backend.conda"
"$SMTRAIN_PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
  refuse 69 "$SMTRAIN_PYTHON on $SMTRAIN_HOST is no Python 3.10 or newer: set backend.python"

export SMTRAIN_INPUT_DATA_1="$SMTRAIN_BUNDLE"/inputs/data-1/rows.jsonl

found=$(nvidia-smi --list-gpus 2>/dev/null | wc -l) || true
((found >= SMTRAIN_PROCS_PER_NODE)) ||
  refuse 69 "the run needs $SMTRAIN_PROCS_PER_NODE GPUs, and $SMTRAIN_HOST has $found for it"

# Without this every process would start as many threads as there are cores.
if [[ -z ${OMP_NUM_THREADS:-} ]]; then
  OMP_NUM_THREADS=$((${SLURM_CPUS_ON_NODE:-1} / SMTRAIN_PROCS_PER_NODE))
  ((OMP_NUM_THREADS)) || OMP_NUM_THREADS=1
fi
export OMP_NUM_THREADS

exec "$SMTRAIN_PYTHON" "$SMTRAIN_BUNDLE/agent" "$SMTRAIN_BUNDLE/agent.json" -- bash "$SMTRAIN_BUNDLE/${SMTRAIN_STEPS:-steps.sh}"
