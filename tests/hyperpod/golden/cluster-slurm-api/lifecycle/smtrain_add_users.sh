#!/usr/bin/env bash
# Makes an account for each user who has none. As root, on each node; written by smtrain.
set -euo pipefail

add_user() {  # NAME UID HOME
  local owner
  if id -u -- "$1" >/dev/null 2>&1; then
    printf 'smtrain: user %s is there already\n' "$1"
    return
  fi
  if owner=$(getent passwd "$2"); then
    printf 'smtrain: uid %s of user %s belongs to %s\n' "$2" "$1" "${owner%%:*}" >&2
    return 1
  fi
  mkdir -p -- "${3%/*}/"
  useradd --create-home --uid "$2" --home-dir "$3" --shell /bin/bash -- "$1"
  printf 'smtrain: made user %s\n' "$1"
}

while IFS=, read -r name uid home; do
  add_user "$name" "$uid" "$home"
done <<'USERS'
ada,2001,/fsx/ada
bob,2002,/data/bob
USERS
