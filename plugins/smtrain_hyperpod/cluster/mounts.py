"""Buckets of S3 as folders of every node: a script that installs Mountpoint for Amazon S3 and makes systemd units.

Sources: docs.aws.amazon.com/AmazonS3/latest/userguide/mountpoint-installation (where its packages are), and
github.com/awslabs/mountpoint-s3, doc/CONFIGURATION.md (its flags, and that systemd's type is forking).
"""

from __future__ import annotations

from smtrain.plugin import shell
from smtrain_hyperpod.cluster.options import ClusterOptions, Mount

SCRIPT = "smtrain_mount_s3.sh"


def script(cluster: ClusterOptions) -> str:
    """Returns the script that mounts the buckets; it needs no other file, and may run again."""
    lines = (shell.command(_words(name, mount)) for name, mount in cluster.mounts.items())
    return f"{_HEAD}{''.join(f'{line}{chr(10)}' for line in lines)}"


def split(mount: Mount) -> tuple[str, str]:
    """Returns the bucket of a mount, and the prefix in it, which is "" or ends in a slash."""
    bucket, _, prefix = mount.uri.removeprefix("s3://").partition("/")
    return bucket, f"{prefix.strip('/')}/" if prefix.strip("/") else ""


def _words(name: str, mount: Mount) -> tuple[str, ...]:
    bucket, prefix = split(mount)
    access = ("--allow-delete", "--allow-overwrite") if mount.writable else ("--read-only",)
    return (
        "mount_bucket",
        name,
        bucket,
        mount.path,
        "--allow-other",
        *access,
        *(("--prefix", prefix) if prefix else ()),
    )


_HEAD = """\
#!/usr/bin/env bash
# Mounts buckets of S3, now and whenever the node starts. As root, on each node; written by smtrain.
set -euo pipefail

units=${SMTRAIN_SYSTEMD_UNITS:-/etc/systemd/system}

install_mountpoint() {
  local machine package folder
  if command -v mount-s3 >/dev/null; then return; fi
  case $(uname -m) in
    x86_64) machine=x86_64 ;;
    aarch64) machine=arm64 ;;
    *)
      printf 'smtrain: there is no Mountpoint for Amazon S3 for %s\\n' "$(uname -m)" >&2
      return 1
      ;;
  esac
  package=mount-s3.rpm
  if command -v apt-get >/dev/null; then package=mount-s3.deb; fi
  folder=$(mktemp -d)
  curl --fail --silent --show-error --location --retry 5 --output "$folder/$package" \\
    "https://s3.amazonaws.com/mountpoint-s3-release/latest/$machine/$package"
  if [[ $package == *.deb ]]; then
    DEBIAN_FRONTEND=noninteractive apt-get install -y "$folder/$package"
  else
    yum install -y "$folder/$package"
  fi
  rm -r -- "$folder"
}

mount_bucket() {  # NAME BUCKET FOLDER OPTION...
  local unit=smtrain-mount-$1.service bucket=$2 folder=$3
  shift 3
  mkdir -p -- "$folder"
  cat >"$units/$unit" <<UNIT
[Unit]
Description=s3://$bucket at $folder, through Mountpoint for Amazon S3
Wants=network-online.target
After=network-online.target

[Service]
Type=forking
ExecStart=$(command -v mount-s3) $* $bucket $folder
ExecStop=$(command -v umount) $folder
Restart=on-failure
RestartSec=10

[Install]
WantedBy=multi-user.target
UNIT
  systemctl daemon-reload
  systemctl enable "$unit"
  systemctl restart "$unit"
  printf 'smtrain: mounted s3://%s at %s\\n' "$bucket" "$folder"
}

install_mountpoint
"""
