"""`submit.sh`: gives the job to Slurm once, on the login node, and prints its id."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from smtrain.plugin import RUN_ID, Job
from smtrain_hyperpod.slurm import job_script
from smtrain_hyperpod.slurm.options import SlurmOptions

NO_SLURM = 69
NO_SECRET = 78

_SCRIPT = """\
#!/usr/bin/env bash
# On the login node: gives job.sbatch to Slurm under a name, once, and prints the id of the job that has it.
#   bash submit.sh [NAME [FOLDER]]
# FOLDER is that of an array of jobs, laid out as a run's own is.
# Written by smtrain; the same configuration gives the same file.
set -euo pipefail
name=${{1:-{run_id}}}
run=${{2:-{run}}}
command -v sbatch >/dev/null || {{
  printf 'smtrain: there is no sbatch on %s: is it the login node?\\n' "$HOSTNAME" >&2
  exit {no_slurm}
}}
# Variables of sbatch outweigh the lines of the script, and those of a job that this may run in go on to the new one.
unset "${{!SBATCH_@}}"
for variable in "${{!SLURM_@}}"; do
  [[ $variable == SLURM_CONF ]] || unset "$variable"
done
{follow}mkdir -p -- "$run/jobs" "$run/logs"
# Two at once would make two jobs; file systems without locks let them.
exec {{held}}>>"$run/jobs/.lock"
flock "$held" || true
if [[ ! -s $run/jobs/$name ]]; then
  job=$(squeue --me --noheader --states=all --format=%i --name="$name")
  if [[ -z $job ]]; then
    {secrets}job=$(sbatch --parsable --job-name="$name" "$run/bundle/job.sbatch")
  fi
  # The newest one; with several clusters, the cluster's name follows the id.
  job=${{job##*$'\\n'}}
  # What follows an underscore is one of an array.
  job=${{job%%;*}}
  job=${{job%%_*}}
{later}  printf '%s\\n' "$job" >"$run/jobs/.$name"
  mv -f -- "$run/jobs/.$name" "$run/jobs/$name"
fi
cat -- "$run/jobs/$name"
"""

_FOLLOW = """\
# What waits for the job before it to succeed, and is taken back by Slurm when that can no longer be.
follow() {  # PART
  local next
  next=$(squeue --me --noheader --states=all --format=%i --name="$name.$1")
  if [[ -z $next ]]; then
    next=$(sbatch --parsable --job-name="$name.$1" --dependency="afterok:${job##*,}" --kill-on-invalid-dep=yes \\
      "$run/bundle/job-$1.sbatch")
  fi
  next=${next##*$'\\n'}
  job=$job,${next%%;*}
}
"""

_SECRET = """\
[[ -n ${{{source}+set}} ]] || {{
      printf 'smtrain: secret %s: the environment variable %s is not set on %s\\n' {name} {source} "$HOSTNAME" >&2
      exit {code}
    }}
    """


def render(job: Job, options: SlurmOptions, *, later: tuple[str, ...] = ()) -> str:
    """Returns the script; `later` names the jobs that follow the first one."""
    at = job_script.places(job, options)
    secrets = "" if options.env_file else "".join(_secrets(job))
    return _SCRIPT.format(
        run_id=RUN_ID,
        run=at.run,
        no_slurm=NO_SLURM,
        secrets=secrets,
        follow=_FOLLOW if later else "",
        later="".join(f"  follow {shlex.quote(part)}\n" for part in later),
    )


def _secrets(job: Job) -> Iterator[str]:
    """Yields a look at each variable that a secret is to come from: the job gets the environment of whoever submits."""
    for name, reference in sorted(job.run.secrets.items()):
        if reference.startswith("env:"):
            yield _SECRET.format(name=shlex.quote(name), source=reference[4:], code=NO_SECRET)
