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

: "${SMTRAIN_RUN_DIR:?is set by node.sh}"

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
[[ -n ${SMTRAIN_OUTPUT_EVALUATE_DIR:-} ]] || SMTRAIN_OUTPUT_EVALUATE_DIR="$SMTRAIN_OUTPUT_DIR"/evaluate
mkdir -p -- "$SMTRAIN_OUTPUT_EVALUATE_DIR"

unset SMTRAIN_RESUME_FROM
find_checkpoint trainer_state.json "$SMTRAIN_OUTPUT_TRAIN_DIR"/checkpoint-*
if [[ -n ${SMTRAIN_RESUME_FROM+set} ]]; then
  printf 'smtrain: going on from %s\n' "$SMTRAIN_RESUME_FROM" >&2
else
  start_afresh "$SMTRAIN_OUTPUT_TRAIN_DIR"
  start_afresh "$SMTRAIN_OUTPUT_EVALUATE_DIR"
fi

# --------------------------------------------------------------------------------------------------------------- Links

link() {  # TARGET PATH
  if [[ $2 == */* ]]; then mkdir -p -- "${2%/*}"; fi
  [[ -L $2 || ! -e $2 ]] || fail 73 "$SMTRAIN_WORK/$2 is in the way of a link to $1"
  ln -sfn -- "$1" "$2"
}

link "$SMTRAIN_INPUT_DATA_1" data/train.jsonl
link "$SMTRAIN_OUTPUT_EVALUATE_DIR" evaluate
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
  -m llamafactory.launcher \
  train.yaml \
  ${SMTRAIN_RESUME_FROM+resume_from_checkpoint="$SMTRAIN_RESUME_FROM"}
