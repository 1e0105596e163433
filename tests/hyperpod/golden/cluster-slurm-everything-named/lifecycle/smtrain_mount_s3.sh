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
      printf 'smtrain: there is no Mountpoint for Amazon S3 for %s\n' "$(uname -m)" >&2
      return 1
      ;;
  esac
  package=mount-s3.rpm
  if command -v apt-get >/dev/null; then package=mount-s3.deb; fi
  folder=$(mktemp -d)
  curl --fail --silent --show-error --location --retry 5 --output "$folder/$package" \
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
  printf 'smtrain: mounted s3://%s at %s\n' "$bucket" "$folder"
}

install_mountpoint
mount_bucket sets golden-data /mnt/sets --allow-other --read-only --prefix sets/
mount_bucket out golden-results /mnt/out --allow-other --allow-delete --allow-overwrite
