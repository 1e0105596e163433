"""Accounts on every node: the file that AWS's base configuration reads, and a script for nodes that are there."""

from __future__ import annotations

from smtrain_hyperpod.cluster.options import ClusterOptions, User

SHARED_USERS = "shared_users.txt"
SCRIPT = "smtrain_add_users.sh"


def home(cluster: ClusterOptions, name: str, user: User) -> str:
    """Returns the home of a user: on the file system that all nodes share, where there is one."""
    lustre, zfs = cluster.fsx.lustre, cluster.fsx.openzfs
    shared = zfs.mount_path if zfs else lustre.mount_path if lustre else "/home"
    return user.home or f"{shared.rstrip('/')}/{name}"


def shared_users(cluster: ClusterOptions) -> str:
    """Returns shared_users.txt: a line `name,uid,home` for each user."""
    return "".join(f"{name},{user.uid},{home(cluster, name, user)}\n" for name, user in cluster.users.items())


def script(cluster: ClusterOptions) -> str:
    """Returns the script that makes the accounts; it needs no other file, and may run again."""
    return f"{_HEAD}{shared_users(cluster)}{_TAIL}"


_HEAD = """\
#!/usr/bin/env bash
# Makes an account for each user who has none. As root, on each node; written by smtrain.
set -euo pipefail

add_user() {  # NAME UID HOME
  local owner
  if id -u -- "$1" >/dev/null 2>&1; then
    printf 'smtrain: user %s is there already\\n' "$1"
    return
  fi
  if owner=$(getent passwd "$2"); then
    printf 'smtrain: uid %s of user %s belongs to %s\\n' "$2" "$1" "${owner%%:*}" >&2
    return 1
  fi
  mkdir -p -- "${3%/*}/"
  useradd --create-home --uid "$2" --home-dir "$3" --shell /bin/bash -- "$1"
  printf 'smtrain: made user %s\\n' "$1"
}

while IFS=, read -r name uid home; do
  add_user "$name" "$uid" "$home"
done <<'USERS'
"""
_TAIL = "USERS\n"
