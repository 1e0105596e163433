#!/usr/bin/env bash
# What is the same for every node: where things are, and which interpreter. setup.sh and node.sh read it.
# Written by smtrain; the same configuration gives the same file.

refuse() {  # EXIT_CODE MESSAGE
  printf 'smtrain: %s\n' "$2" >&2
  mkdir -p -- "$SMTRAIN_RUN/node-$SLURM_NODEID"
  printf '%s\n' "$2" >"$SMTRAIN_RUN/node-$SLURM_NODEID/failure"
  # The other nodes need not wait for this one.
  printf '%s %s\n' "$1" "stopped because node $SLURM_NODEID could not begin: $2" >"$SMTRAIN_END_FILE"
  exit "$1"
}

SMTRAIN_NODE_RANK=$SLURM_NODEID
SMTRAIN_NUM_NODES=$SLURM_NNODES
SMTRAIN_HOST=${SLURMD_NODENAME:-$HOSTNAME}
SMTRAIN_BASE=$SMTRAIN_RUN
SMTRAIN_RUN_DIR=$SMTRAIN_RUN/node-$SLURM_NODEID
SMTRAIN_WORK=$SMTRAIN_RUN_DIR/work
SMTRAIN_FAILURE_FILE=$SMTRAIN_RUN_DIR/failure
# Of this node alone, even where several nodes are one machine.
SMTRAIN_SCRATCH_DIR=/tmp/smtrain/RUN-ID/node-$SLURM_NODEID
[[ -z ${SMTRAIN_REHEARSAL:-} ]] || SMTRAIN_SCRATCH_DIR=$SMTRAIN_RUN/scratch/node-$SLURM_NODEID
# What goes to S3 is made on the node's own disk.
SMTRAIN_OUTPUT_DIR=${SMTRAIN_OUTPUT_DIR:-$SMTRAIN_SCRATCH_DIR/output}
SMTRAIN_CHECKPOINT_DIR=$SMTRAIN_OUTPUT_DIR/checkpoints
SMTRAIN_MODEL_DIR=$SMTRAIN_OUTPUT_DIR/model
SMTRAIN_RESUME=auto
mkdir -p -- "$SMTRAIN_RUN_DIR" "$SMTRAIN_SCRATCH_DIR"

SMTRAIN_GRACE_S=120

SMTRAIN_PROCS_PER_NODE=8

if [[ -z ${SMTRAIN_REHEARSAL_PYTHON:-} ]]; then
  SMTRAIN_PYTHON=python3
  # The programs of its environment are found as if it were activated.
  if [[ $SMTRAIN_PYTHON == */* ]]; then export PATH="${SMTRAIN_PYTHON%/*}:$PATH"; fi
else
  SMTRAIN_PYTHON=$SMTRAIN_REHEARSAL_PYTHON
fi

export SMTRAIN_BASE SMTRAIN_CHECKPOINT_DIR SMTRAIN_FAILURE_FILE SMTRAIN_GRACE_S SMTRAIN_HOST SMTRAIN_MODEL_DIR \
  SMTRAIN_NODE_RANK SMTRAIN_NUM_NODES SMTRAIN_OUTPUT_DIR SMTRAIN_PROCS_PER_NODE SMTRAIN_PYTHON SMTRAIN_RESUME \
  SMTRAIN_RUN_DIR SMTRAIN_SCRATCH_DIR SMTRAIN_WORK
