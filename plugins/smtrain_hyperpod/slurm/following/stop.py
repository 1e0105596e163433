"""Ending a job."""

from __future__ import annotations

from pathlib import Path

from smtrain.plugin import ExitCode, Receipt, State, fail
from smtrain_hyperpod.slurm.following import submitted
from smtrain_hyperpod.slurm.following.status import status
from smtrain_hyperpod.transport.reached import login_node

_STOP = r"""
set -euo pipefail
job=$1 run=$2
IFS=, read -ra jobs <<<"$job"
# The last first: what waits for another must not start when that ends.
for ((at = ${#jobs[@]} - 1; at >= 0; at--)); do
  job=${jobs[at]}
  # One that is over, which Slurm may have forgotten.
  [[ ! -s $run/jobs/$job.exit_code ]] || continue
  state=$(squeue --jobs="$job" --noheader --states=all --format=%T)
  asked=$run/jobs/$job.stop
  if [[ $state == RUNNING && ! -e $asked ]]; then
    : >"$asked"
    # The script alone is told: it has the steps save, and ends when they have.
    scancel --batch --signal=TERM "$job"
  else
    : >"$asked"
    scancel "$job"
  fi
done
"""


def stop(run_dir: Path, receipt: Receipt) -> Receipt:
    """Asks a job to save and end; asked again, or before it runs, Slurm ends it at once.

    Raises:
      SmtrainError: the login node, or Slurm, cannot be reached, or refuses.
    """
    receipt = status(run_dir, receipt)
    if receipt.state is not State.RUNNING:
        return receipt
    target = submitted.read(run_dir, receipt)
    login = login_node(target.login, key="backend.login")
    done = login.run(("bash", "-c", _STOP, "stop", receipt.job, target.run))
    if done.code:
        what = f"Slurm on {login.name} does not end job {receipt.job}: {done.stderr.strip()}"
        raise fail(what, "See `squeue` there.", code=ExitCode.REMOTE_REFUSED)
    return status(run_dir, receipt)
