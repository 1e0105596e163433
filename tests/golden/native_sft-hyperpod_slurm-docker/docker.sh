#!/usr/bin/env bash
# On every node: runs a script of the bundle in the container. Values of variables go by their names alone, which keeps
# secrets off the command line.
set -euo pipefail
names=("${!SLURM_@}" "${!SMTRAIN_@}" "${!AWS_@}" "${!NCCL_@}" "${!FI_@}" "${!HF_@}" CUDA_VISIBLE_DEVICES MY_TOKEN)
variables=()
for name in "${names[@]}"; do variables+=(--env "$name"); done
devices=()
if command -v nvidia-smi >/dev/null; then devices+=(--gpus all); fi
if [[ -d /dev/infiniband ]]; then devices+=(--device=/dev/infiniband); fi
mkdir -p -- /tmp/smtrain
exec docker run --rm --init --name "smtrain-$SLURM_JOB_ID-$SLURM_NODEID-${1%.sh}" --network=host --ipc=host \
  --ulimit memlock=-1 --user "$(id -u):$(id -g)" --env HOME=/tmp/smtrain "${variables[@]}" "${devices[@]}" \
  --volume "$SMTRAIN_RUN:$SMTRAIN_RUN" --volume /fsx/team/smtrain:/fsx/team/smtrain --volume /tmp/smtrain:/tmp/smtrain --shm-size=64g \
  ghcr.io/org/train:1 bash "$SMTRAIN_BUNDLE/$1"
