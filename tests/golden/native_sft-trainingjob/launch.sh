#!/usr/bin/env bash
# The container's entry point, on every host: gives each variable of the run its value here, then hands over to the
# agent, which brings the inputs, runs steps.sh, and takes the results away.
# Written by smtrain; the same configuration gives the same file.
set -euo pipefail

# The platform's own folder; a rehearsal without privileges moves it.
root=${SMTRAIN_ML_ROOT:-/opt/ml}
SMTRAIN_BUNDLE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)

refuse() {  # EXIT_CODE MESSAGE
  mkdir -p -- "$root/output"
  printf 'smtrain: %s\n' "$2" | tee "$root/output/failure" >&2
  exit "$1"
}
SMTRAIN_PYTHON=python3
"$SMTRAIN_PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
  refuse 69 "the image has no Python 3.10 or newer as $SMTRAIN_PYTHON: set backend.python, or take another image"

# resourceconfig.json names the hosts. They are numbered: algo-10 comes after algo-9.
read -r SMTRAIN_HOST SMTRAIN_NODE_RANK SMTRAIN_NUM_NODES SMTRAIN_MASTER_ADDR interface < <("$SMTRAIN_PYTHON" -c '
import json, re, sys
with open(sys.argv[1]) as file:
    config = json.load(file)
number = lambda host: [int(part) if part.isdigit() else part for part in re.split("([0-9]+)", host)]
hosts = sorted(config["hosts"], key=number)
host, network = config["current_host"], config.get("network_interface_name") or "eth0"
print(host, hosts.index(host), len(hosts), hosts[0], network)
' "$root/input/config/resourceconfig.json") || refuse 78 "$root/input/config/resourceconfig.json cannot be read"

SMTRAIN_MASTER_PORT=${SMTRAIN_MASTER_PORT:-29500}
SMTRAIN_PROCS_PER_NODE=1

SMTRAIN_SCRATCH_DIR=${SMTRAIN_SCRATCH_DIR:-/tmp/smtrain}
SMTRAIN_BASE=$SMTRAIN_SCRATCH_DIR
SMTRAIN_RUN_DIR=$SMTRAIN_SCRATCH_DIR/run
SMTRAIN_WORK=$SMTRAIN_SCRATCH_DIR/work
SMTRAIN_OUTPUT_DIR=$SMTRAIN_SCRATCH_DIR/output
SMTRAIN_CHECKPOINT_DIR=$SMTRAIN_OUTPUT_DIR/checkpoints
SMTRAIN_MODEL_DIR=$SMTRAIN_OUTPUT_DIR/model
SMTRAIN_PLATFORM_MODEL_DIR=$root/model
SMTRAIN_FAILURE_FILE=$root/output/failure
SMTRAIN_RESUME=${SMTRAIN_RESUME:-auto}
SMTRAIN_GRACE_S=90
mkdir -p -- "$SMTRAIN_RUN_DIR" "$root/output"

SMTRAIN_INPUT_DATA_1="$root"/input/data/data-1
SMTRAIN_INPUT_DATA_1+=/rows.jsonl

export NCCL_SOCKET_IFNAME="$interface" GLOO_SOCKET_IFNAME="$interface"

found=$(nvidia-smi --list-gpus 2>/dev/null | wc -l) || true
((found >= SMTRAIN_PROCS_PER_NODE)) ||
  refuse 69 "the run needs $SMTRAIN_PROCS_PER_NODE GPUs, and this host has $found"

export SMTRAIN_LIBRARY="$root"/input/data/library

export SMTRAIN_BASE SMTRAIN_BUNDLE SMTRAIN_CHECKPOINT_DIR SMTRAIN_FAILURE_FILE SMTRAIN_GRACE_S SMTRAIN_HOST \
  SMTRAIN_INPUT_DATA_1 SMTRAIN_MASTER_ADDR SMTRAIN_MASTER_PORT SMTRAIN_MODEL_DIR SMTRAIN_NODE_RANK \
  SMTRAIN_NUM_NODES SMTRAIN_OUTPUT_DIR SMTRAIN_PLATFORM_MODEL_DIR SMTRAIN_PROCS_PER_NODE SMTRAIN_PYTHON \
  SMTRAIN_RESUME SMTRAIN_RUN_DIR SMTRAIN_SCRATCH_DIR SMTRAIN_WORK

exec "$SMTRAIN_PYTHON" "$root"/input/data/agent "$SMTRAIN_BUNDLE/agent.json" -- bash "$SMTRAIN_BUNDLE/steps.sh"
