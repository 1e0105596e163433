#!/usr/bin/env bash
# Runs on each node, in this order: serve.
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

: "${SMTRAIN_RUN_DIR:?is set by launch.sh}"

# ----------------------------------------------------------------------------------------------- The working directory

mkdir -p -- "$SMTRAIN_WORK" "$SMTRAIN_OUTPUT_DIR"
cd -- "$SMTRAIN_WORK"
cp -Rf -- "$SMTRAIN_BUNDLE/program/." .

# --------------------------------------------------------------------------------------------------------- Environment

export API_PORT=8000

# --------------------------------------------------------------------------------------------------------------- Steps

if [[ $SMTRAIN_NODE_RANK == 0 ]]; then
  run_step serve \
    "${SMTRAIN_PYTHON}" \
    -m llamafactory.cli \
    api \
    inference.yaml
fi
