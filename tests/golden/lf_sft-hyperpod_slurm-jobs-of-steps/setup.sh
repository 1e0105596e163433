#!/usr/bin/env bash
# On the first node, before the others begin: sets up the environment that they share.
# Written by smtrain; the same configuration gives the same file.
set -euo pipefail

# A rehearsal without Slurm takes the interpreter of whoever rehearses, and leaves it as it is.
[[ -z ${SMTRAIN_REHEARSAL_PYTHON:-} ]] || exit 0

# Other jobs may be at the same environment; file systems without locks let them.
lock=/fsx/team/smtrain.smtrain-setup
mkdir -p -- "${lock%/*}"
exec {held}>>"$lock"
flock "$held" || true

# shellcheck source=/dev/null
source "$SMTRAIN_BUNDLE/environment.sh"

command -v -- "$SMTRAIN_PYTHON" >/dev/null ||
  refuse 69 "there is no interpreter $SMTRAIN_PYTHON on $SMTRAIN_HOST: backend.python, backend.venv or backend.conda"
"$SMTRAIN_PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
  refuse 69 "$SMTRAIN_PYTHON on $SMTRAIN_HOST is no Python 3.10 or newer: set backend.python"

exec "$SMTRAIN_PYTHON" "$SMTRAIN_BUNDLE/agent" "$SMTRAIN_BUNDLE/setup.json" --install
