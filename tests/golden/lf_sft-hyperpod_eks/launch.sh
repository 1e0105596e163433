#!/usr/bin/env bash
# Gives each variable of the run its value in this pod, then hands over to the agent.
# Written by smtrain; the same configuration gives the same file.
set -euo pipefail

SMTRAIN_BUNDLE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
SMTRAIN_FAILURE_FILE=${SMTRAIN_FAILURE_FILE:-/dev/termination-log}
refuse() {  # EXIT_CODE MESSAGE
  printf 'smtrain: %s\n' "$2" >&2
  if [[ -w $SMTRAIN_FAILURE_FILE ]]; then printf '%s\n' "$2" >"$SMTRAIN_FAILURE_FILE"; fi
  exit "$1"
}

SMTRAIN_PYTHON=python3
"$SMTRAIN_PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
  refuse 69 "the image has no Python 3.10 or newer as $SMTRAIN_PYTHON: set backend.python, or take another image"

# What hyperpodrun gives its processes, of which a pod has one; the operator may have ranked the pods anew.
SMTRAIN_NODE_RANK=${GROUP_RANK:?is set by hyperpodrun}
SMTRAIN_NUM_NODES=$GROUP_WORLD_SIZE
SMTRAIN_MASTER_ADDR=$MASTER_ADDR
SMTRAIN_MASTER_PORT=$MASTER_PORT

# What the operator says of this pod, a launcher would take for itself, and a training for one process of many.
unset RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE GROUP_RANK GROUP_WORLD_SIZE ROLE_NAME ROLE_RANK ROLE_WORLD_SIZE \
  MASTER_ADDR MASTER_PORT "${!PET_@}" "${!TORCHELASTIC_@}"

SMTRAIN_SCRATCH_DIR=${SMTRAIN_SCRATCH_DIR:-/scratch}
SMTRAIN_BASE=$SMTRAIN_SCRATCH_DIR
SMTRAIN_RUN_DIR=$SMTRAIN_SCRATCH_DIR/run
SMTRAIN_WORK=$SMTRAIN_SCRATCH_DIR/work
SMTRAIN_OUTPUT_DIR=${SMTRAIN_OUTPUT_DIR:-$SMTRAIN_SCRATCH_DIR/output}
SMTRAIN_CHECKPOINT_DIR=$SMTRAIN_OUTPUT_DIR/checkpoints
SMTRAIN_MODEL_DIR=$SMTRAIN_OUTPUT_DIR/model
SMTRAIN_PROCS_PER_NODE=1
SMTRAIN_RESUME=${SMTRAIN_RESUME:-auto}
SMTRAIN_GRACE_S=90
SMTRAIN_HOST=${SMTRAIN_HOST:-$HOSTNAME}
mkdir -p -- "$SMTRAIN_RUN_DIR" || refuse 73 "$SMTRAIN_SCRATCH_DIR cannot be written: see backend.scratch"

found=$(nvidia-smi --list-gpus 2>/dev/null | wc -l) || true
((found >= SMTRAIN_PROCS_PER_NODE)) ||
  refuse 69 "the run needs $SMTRAIN_PROCS_PER_NODE GPUs, and this pod has $found"

export SMTRAIN_BASE SMTRAIN_BUNDLE SMTRAIN_CHECKPOINT_DIR SMTRAIN_FAILURE_FILE SMTRAIN_GRACE_S SMTRAIN_HOST \
  SMTRAIN_MASTER_ADDR SMTRAIN_MASTER_PORT SMTRAIN_MODEL_DIR SMTRAIN_NODE_RANK SMTRAIN_NUM_NODES \
  SMTRAIN_OUTPUT_DIR SMTRAIN_PROCS_PER_NODE SMTRAIN_PYTHON SMTRAIN_RESUME SMTRAIN_RUN_DIR SMTRAIN_SCRATCH_DIR \
  SMTRAIN_WORK

exec "$SMTRAIN_PYTHON" "$SMTRAIN_BUNDLE/agent.zip" "$SMTRAIN_BUNDLE/agent.json" -- bash "$SMTRAIN_BUNDLE/steps.sh"
