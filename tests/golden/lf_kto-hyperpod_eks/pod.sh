#!/usr/bin/env bash
# The entry point of the container: hands over to the agent of the operator.
# Written by smtrain; the same configuration gives the same file.
set -euo pipefail

SMTRAIN_BUNDLE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
SMTRAIN_FAILURE_FILE=${SMTRAIN_FAILURE_FILE:-/dev/termination-log}
refuse() {  # EXIT_CODE MESSAGE
  printf 'smtrain: %s\n' "$2" >&2
  if [[ -w $SMTRAIN_FAILURE_FILE ]]; then printf '%s\n' "$2" >"$SMTRAIN_FAILURE_FILE"; fi
  exit "$1"
}

SMTRAIN_PYTHON=python3
"$SMTRAIN_PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
  refuse 69 "the image has no Python 3.10 or newer as $SMTRAIN_PYTHON: set backend.python, or take another image"

# The operator calls the elastic agent at its port, with the rank of this pod; that starts launch.sh, and starts it
# again after a fault somewhere. To it a pod has one process: the trainer's own launcher starts those of the GPUs.
if ! "$SMTRAIN_PYTHON" -c 'import hyperpod_elastic_agent' 2>/dev/null; then
  pip() { "$SMTRAIN_PYTHON" -m pip install --quiet --no-input --disable-pip-version-check "$@"; }
  { pip 'fastapi>=0.113.0' 'uvicorn>=0.30.6' psutil && pip --no-deps hyperpod-elastic-agent==1.1.3; } ||
    refuse 69 "hyperpod-elastic-agent==1.1.3 could not be installed: put it into the image"
fi
# With torch 2.12 and newer, version 1.1.3 ends here: both have an option --shutdown-timeout.
"$SMTRAIN_PYTHON" -m hyperpod_elastic_agent.run --help >/dev/null ||
  refuse 69 "hyperpod-elastic-agent==1.1.3 does not start: it needs a torch older than 2.12; or set backend.operator=kubeflow"
mkdir -p -- "${SMTRAIN_AGENT_LOGS:=/tmp/hyperpod}"
exec "$SMTRAIN_PYTHON" -m hyperpod_elastic_agent.run --nnodes="$NNODES" --nproc-per-node=1 \
  --server-host="${SMTRAIN_AGENT_HOST:-0.0.0.0}" --server-port="${SMTRAIN_AGENT_PORT:-8080}" \
  --tee=3 --log-dir="$SMTRAIN_AGENT_LOGS" --shutdown-signal=SIGTERM --shutdown-timeout=120 \
  --no-python bash "$SMTRAIN_BUNDLE/launch.sh"
