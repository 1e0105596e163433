#!/usr/bin/env bash
# What a new node runs; written by smtrain.
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")"

run() {  # SCRIPT
  printf 'smtrain: %s\n' "$1"
  bash "$1"
}

run ./on_create.sh
run ./smtrain_mount_s3.sh
