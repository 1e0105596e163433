#!/usr/bin/env bash
# Runs on each node, in this order: train.
# Written by smtrain; the same configuration gives the same file.
# shellcheck disable=SC1003,SC2016,SC2089,SC2090  # text of the configuration stands in single quotes as it is
set -euo pipefail

fail() {  # EXIT_CODE MESSAGE
  printf 'smtrain: %s\n' "$2" >&2
  exit "$1"
}

record() {  # NAME TEXT
  if [[ -n ${SMTRAIN_RUN_DIR:-} && ${SMTRAIN_NODE_RANK:-0} == 0 ]]; then
    printf '%s\n' "$2" >"$SMTRAIN_RUN_DIR/$1"
  fi
}
trap 'record exit_code "$?" || true' EXIT

# A signal goes on to the processes of the running step, and the script waits for them, since they may be saving: for
# SMTRAIN_GRACE_S seconds, or as long as it takes.
signalled=
deadline=0
on_signal() {  # NAME NUMBER
  local steps step
  signalled=$2
  mapfile -t steps < <(jobs -pr)
  ((${#steps[@]})) || exit "$((128 + signalled))"
  for step in "${steps[@]}"; do kill -s "$1" -- "-$step" || true; done
  deadline=$((SECONDS + ${SMTRAIN_GRACE_S:-0} + 1))  # SECONDS is rounded down
}
trap 'on_signal HUP 1' HUP
trap 'on_signal INT 2' INT
trap 'on_signal TERM 15' TERM

run_step() {  # NAME COMMAND...
  local name=$1 step code
  shift
  record step "$name"
  printf 'smtrain: step %s\n' "$name" >&2
  # With job control a step is a process group of its own, and does not ignore SIGINT as background commands do.
  set -m
  "$@" </dev/null &
  step=$!
  set +m
  # A trapped signal ends `wait` but not the step.
  while true; do
    code=0
    wait "$step" || code=$?
    kill -s 0 "$step" 2>/dev/null || break
    while [[ -n ${SMTRAIN_GRACE_S:-} && -n $signalled ]] && kill -s 0 "$step" 2>/dev/null; do
      ((SECONDS < deadline)) || kill -s KILL -- "-$step" || true
      sleep 0.1
    done
  done
  [[ -z $signalled ]] || exit "$((128 + signalled))"
  ((code == 0)) || fail "$code" "step $name failed with exit code $code"
}

# --------------------------------------------------------------------------------------------------- This target's own

SMTRAIN_BASE=${SMTRAIN_BASE:-$PWD}
SMTRAIN_BUNDLE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
SMTRAIN_RUN_DIR=${SMTRAIN_BUNDLE%/*}
SMTRAIN_WORK=$SMTRAIN_RUN_DIR/work
SMTRAIN_SCRATCH_DIR=$SMTRAIN_RUN_DIR/scratch
SMTRAIN_RESUME=${SMTRAIN_RESUME:-auto}
SMTRAIN_NODE_RANK=0
SMTRAIN_NUM_NODES=1

SMTRAIN_OUTPUT_DIR=$SMTRAIN_RUN_DIR/output
SMTRAIN_CHECKPOINT_DIR=$SMTRAIN_OUTPUT_DIR/checkpoints
SMTRAIN_MODEL_DIR=$SMTRAIN_OUTPUT_DIR/model

SMTRAIN_PROCS_PER_NODE=2
SMTRAIN_GRACE_S=60

SMTRAIN_INPUT_DATA_1="$SMTRAIN_BUNDLE"/inputs/data-1/rows.jsonl

SMTRAIN_PYTHON=${SMTRAIN_PYTHON:-python3}
command -v -- "$SMTRAIN_PYTHON" >/dev/null ||
  fail 69 "there is no interpreter $SMTRAIN_PYTHON: set backend.python"
# The programs of its environment (ninja, for one, which DeepSpeed compiles with) are found as if it were activated.
if [[ $SMTRAIN_PYTHON == */* ]]; then export PATH="${SMTRAIN_PYTHON%/*}:$PATH"; fi

"$SMTRAIN_PYTHON" -c '
import importlib.metadata, re, sys

def release(version):
    # PEP 440: 2.4 is 2.4.0. What follows is left out: 2.4.0a0+nv24.06, as some vendors build it, is 2.4 and not older.
    numbers = re.match(r"v?(?:[0-9]+!)?([0-9]+(?:[.][0-9]+)*)", version)[1].split(".")
    while len(numbers) > 1 and not int(numbers[-1]):
        numbers.pop()
    return [int(number) for number in numbers]

lacking = []
for word in sys.argv[1:]:
    name, _, specifier = word.partition(" ")
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        lacking.append(f"{name}{specifier} is not installed")
    else:
        if specifier.startswith("==") and found.partition("+")[0] != specifier[2:]:
            lacking.append(f"{name} is {found}, not {specifier[2:]}")
        if specifier.startswith(">=") and release(found) < release(specifier[2:]):
            lacking.append(f"{name} is {found}, older than {specifier[2:]}")
sys.exit("smtrain: " + "; ".join(lacking) if lacking else 0)
' 'llamafactory ==0.9.5' matplotlib 'torch >=2.4' ||
  fail 69 "install it for $SMTRAIN_PYTHON, or set backend.python to an interpreter that has it"

# A lease is a locked file. This script and its steps hold it open, so it ends with the last of them, however they end.
lease_dir=${SMTRAIN_LEASE_DIR:-/tmp/smtrain-$UID}
(umask 077 && mkdir -p -- "$lease_dir")
[[ -O $lease_dir ]] || fail 73 "$lease_dir belongs to somebody else; set SMTRAIN_LEASE_DIR to a folder of your own"
lease() {  # NAME
  local lock
  exec {lock}>>"$lease_dir/$1"
  flock --nonblock "$lock" && return
  exec {lock}>&-
  return 1
}

SMTRAIN_MASTER_ADDR=127.0.0.1
until SMTRAIN_MASTER_PORT=$("$SMTRAIN_PYTHON" -S -c '
import socket
with socket.socket() as listener:
    listener.bind(("127.0.0.1", 0))
    print(listener.getsockname()[1])
') && lease "port-$SMTRAIN_MASTER_PORT"; do
  [[ -n $SMTRAIN_MASTER_PORT ]] || fail 69 "$SMTRAIN_PYTHON found no free port"
done

export CUDA_VISIBLE_DEVICES=""

# Without this every process would start as many threads as there are cores.
if [[ -z ${OMP_NUM_THREADS:-} ]]; then
  OMP_NUM_THREADS=$(($(nproc) / SMTRAIN_PROCS_PER_NODE))
  ((OMP_NUM_THREADS)) || OMP_NUM_THREADS=1
fi
export OMP_NUM_THREADS

export SMTRAIN_BASE SMTRAIN_BUNDLE SMTRAIN_CHECKPOINT_DIR SMTRAIN_MASTER_ADDR SMTRAIN_MASTER_PORT SMTRAIN_MODEL_DIR \
  SMTRAIN_NODE_RANK SMTRAIN_NUM_NODES SMTRAIN_OUTPUT_DIR SMTRAIN_PROCS_PER_NODE SMTRAIN_PYTHON SMTRAIN_SCRATCH_DIR

# ----------------------------------------------------------------------------------------------- The working directory

mkdir -p -- "$SMTRAIN_WORK" "$SMTRAIN_OUTPUT_DIR"
cd -- "$SMTRAIN_WORK"
cp -Rf -- "$SMTRAIN_BUNDLE/program/." .

# ------------------------------------------------------------------------------------------------------------- Outputs

set_aside() {  # FOLDER
  local number=1
  # The first node alone: the folder may be shared, and the others would move what is new.
  [[ $SMTRAIN_NODE_RANK == 0 ]] || return 0
  while [[ -e $SMTRAIN_OUTPUT_DIR/aside-$number/${1##*/} ]]; do number=$((number + 1)); done
  mkdir -p -- "$SMTRAIN_OUTPUT_DIR/aside-$number"
  mv -- "$1" "$SMTRAIN_OUTPUT_DIR/aside-$number/"
  printf 'smtrain: set %s aside in %s\n' "$1" "$SMTRAIN_OUTPUT_DIR/aside-$number" >&2
}

# The newest by number (100 comes after 20). One without its last file was being written when an earlier try died: the
# trainer must not take it for the newest either.
newest=-1
find_checkpoint() {  # LAST_FILE FOLDER...
  local last_file=$1 folder number
  shift
  [[ $SMTRAIN_RESUME == auto ]] || return 0
  for folder in "$@"; do
    [[ -d $folder ]] || continue
    if [[ ! -e $folder/$last_file ]]; then
      set_aside "$folder"
      continue
    fi
    number=${folder##*[!0-9]}
    number=$((10#${number:-0}))
    if ((number > newest)); then
      newest=$number
      SMTRAIN_RESUME_FROM=$folder
    fi
  done
}

# A program that starts from the beginning finds its outputs empty: trainers refuse, or take up, what lies there.
start_afresh() {  # FOLDER
  if [[ -n "$(ls -A -- "$1")" ]]; then
    set_aside "$1"
    mkdir -p -- "$1"
  fi
}

[[ -n ${SMTRAIN_OUTPUT_TRAIN_DIR:-} ]] || SMTRAIN_OUTPUT_TRAIN_DIR="$SMTRAIN_OUTPUT_DIR"/train
mkdir -p -- "$SMTRAIN_OUTPUT_TRAIN_DIR"

unset SMTRAIN_RESUME_FROM
find_checkpoint trainer_state.json "$SMTRAIN_OUTPUT_TRAIN_DIR"/checkpoint-*
if [[ -n ${SMTRAIN_RESUME_FROM+set} ]]; then
  printf 'smtrain: going on from %s\n' "$SMTRAIN_RESUME_FROM" >&2
else
  start_afresh "$SMTRAIN_OUTPUT_TRAIN_DIR"
fi

# --------------------------------------------------------------------------------------------------------------- Links

link() {  # TARGET PATH
  if [[ $2 == */* ]]; then mkdir -p -- "${2%/*}"; fi
  [[ -L $2 || ! -e $2 ]] || fail 73 "$SMTRAIN_WORK/$2 is in the way of a link to $1"
  ln -sfn -- "$1" "$2"
}

link "$SMTRAIN_INPUT_DATA_1" data/train.jsonl
link "$SMTRAIN_OUTPUT_TRAIN_DIR" output

# --------------------------------------------------------------------------------------------------------------- Steps

run_step train \
  "${SMTRAIN_PYTHON}" \
  -m torch.distributed.run \
  --nnodes "${SMTRAIN_NUM_NODES}" \
  --nproc-per-node "${SMTRAIN_PROCS_PER_NODE}" \
  --node-rank "${SMTRAIN_NODE_RANK}" \
  --master-addr "${SMTRAIN_MASTER_ADDR}" \
  --master-port "${SMTRAIN_MASTER_PORT}" \
  smtrain_worker.py \
  -m llamafactory.launcher \
  train.yaml \
  ${SMTRAIN_RESUME_FROM+resume_from_checkpoint="$SMTRAIN_RESUME_FROM"}
