#!/usr/bin/env bash
# On the login node: gives job.sbatch to Slurm under a name, once, and prints the id of the job that has it.
#   bash submit.sh [NAME [FOLDER]]
# FOLDER is that of an array of jobs, laid out as a run's own is.
# Written by smtrain; the same configuration gives the same file.
set -euo pipefail
name=${1:-RUN-ID}
run=${2:-/fsx/team/smtrain/runs/RUN-ID}
command -v sbatch >/dev/null || {
  printf 'smtrain: there is no sbatch on %s: is it the login node?\n' "$HOSTNAME" >&2
  exit 69
}
# Variables of sbatch outweigh the lines of the script, and those of a job that this may run in go on to the new one.
unset "${!SBATCH_@}"
for variable in "${!SLURM_@}"; do
  [[ $variable == SLURM_CONF ]] || unset "$variable"
done
mkdir -p -- "$run/jobs" "$run/logs"
# Two at once would make two jobs; file systems without locks let them.
exec {held}>>"$run/jobs/.lock"
flock "$held" || true
if [[ ! -s $run/jobs/$name ]]; then
  job=$(squeue --me --noheader --states=all --format=%i --name="$name")
  if [[ -z $job ]]; then
    job=$(sbatch --parsable --job-name="$name" "$run/bundle/job.sbatch")
  fi
  # The newest one; with several clusters, the cluster's name follows the id.
  job=${job##*$'\n'}
  # What follows an underscore is one of an array.
  job=${job%%;*}
  job=${job%%_*}
  printf '%s\n' "$job" >"$run/jobs/.$name"
  mv -f -- "$run/jobs/.$name" "$run/jobs/$name"
fi
cat -- "$run/jobs/$name"
