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

# RANK is the pod's, and WORLD_SIZE counts pods, since the job says no nprocPerNode.
SMTRAIN_NODE_RANK=${RANK:?is set by the training operator}
SMTRAIN_NUM_NODES=$WORLD_SIZE
SMTRAIN_MASTER_ADDR=$MASTER_ADDR
SMTRAIN_MASTER_PORT=$MASTER_PORT

# What the operator says of this pod, a launcher would take for itself, and a training for one process of many.
unset RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE GROUP_RANK GROUP_WORLD_SIZE ROLE_NAME ROLE_RANK ROLE_WORLD_SIZE \
  MASTER_ADDR MASTER_PORT "${!PET_@}" "${!TORCHELASTIC_@}"

SMTRAIN_SCRATCH_DIR=${SMTRAIN_SCRATCH_DIR:-/scratch}
SMTRAIN_BASE=$SMTRAIN_SCRATCH_DIR
SMTRAIN_RUN_DIR=$SMTRAIN_SCRATCH_DIR/run
SMTRAIN_WORK=$SMTRAIN_SCRATCH_DIR/work
SMTRAIN_OUTPUT_DIR=${SMTRAIN_OUTPUT_DIR:-/fsx/runs/RUN-ID}
SMTRAIN_CHECKPOINT_DIR=$SMTRAIN_OUTPUT_DIR/checkpoints
SMTRAIN_MODEL_DIR=$SMTRAIN_OUTPUT_DIR/model
SMTRAIN_PROCS_PER_NODE=8
SMTRAIN_RESUME=${SMTRAIN_RESUME:-auto}
SMTRAIN_GRACE_S=90
SMTRAIN_HOST=${SMTRAIN_HOST:-$HOSTNAME}
mkdir -p -- "$SMTRAIN_RUN_DIR" || refuse 73 "$SMTRAIN_SCRATCH_DIR cannot be written: see backend.scratch"

unpack() {  # NAME
  cat -- "$SMTRAIN_BUNDLE/$1".zip* >"$SMTRAIN_RUN_DIR/$1.zip"
  rm -rf -- "${SMTRAIN_SCRATCH_DIR:?}/$1"
  "$SMTRAIN_PYTHON" -m zipfile -e "$SMTRAIN_RUN_DIR/$1.zip" "$SMTRAIN_SCRATCH_DIR/$1"
}
unpack library
unpack inputs

SMTRAIN_INPUT_MODEL=${SMTRAIN_INPUT_MODEL:-/fsx/models/base}
[[ -e $SMTRAIN_INPUT_MODEL ]] || refuse 66 'input model: there is nothing at '"$SMTRAIN_INPUT_MODEL"
SMTRAIN_INPUT_DATA_1="$SMTRAIN_SCRATCH_DIR"/inputs/data-1/pairs.jsonl

# Between the pods: the interface of the default route.
interface=eth0
while read -r name destination _; do
  if [[ $destination == 00000000 ]]; then interface=$name; fi
done </proc/net/route
export NCCL_SOCKET_IFNAME=${NCCL_SOCKET_IFNAME:-$interface} GLOO_SOCKET_IFNAME=${GLOO_SOCKET_IFNAME:-$interface}

# docs.aws.amazon.com/AWSEC2, "Get started with EFA and NCCL": between nodes, libfabric is to take EFA and no other.
export FI_PROVIDER=efa FI_EFA_FORK_SAFE=1

found=$(nvidia-smi --list-gpus 2>/dev/null | wc -l) || true
((found >= SMTRAIN_PROCS_PER_NODE)) ||
  refuse 69 "the run needs $SMTRAIN_PROCS_PER_NODE GPUs, and this pod has $found"

export SMTRAIN_LIBRARY="$SMTRAIN_SCRATCH_DIR/library"

export SMTRAIN_BASE SMTRAIN_BUNDLE SMTRAIN_CHECKPOINT_DIR SMTRAIN_FAILURE_FILE SMTRAIN_GRACE_S SMTRAIN_HOST \
  SMTRAIN_INPUT_DATA_1 SMTRAIN_INPUT_MODEL SMTRAIN_MASTER_ADDR SMTRAIN_MASTER_PORT SMTRAIN_MODEL_DIR \
  SMTRAIN_NODE_RANK SMTRAIN_NUM_NODES SMTRAIN_OUTPUT_DIR SMTRAIN_PROCS_PER_NODE SMTRAIN_PYTHON SMTRAIN_RESUME \
  SMTRAIN_RUN_DIR SMTRAIN_SCRATCH_DIR SMTRAIN_WORK

exec "$SMTRAIN_PYTHON" "$SMTRAIN_BUNDLE/agent.zip" "$SMTRAIN_BUNDLE/agent.json" -- bash "$SMTRAIN_BUNDLE/steps.sh"
