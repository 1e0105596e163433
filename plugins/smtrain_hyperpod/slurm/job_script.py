"""`job.sbatch`: what Slurm runs on the first node of the job, and which starts the others."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from smtrain.plugin import RUN_ID, Job, Output, Program, shell
from smtrain_hyperpod.slurm import container, sbatch_options
from smtrain_hyperpod.slurm.options import SlurmOptions
from smtrain_hyperpod.slurm.parts import Part

STOPPED = 143
"""Exit code of a job that was asked to end: 128 + SIGTERM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where a run lies on the cluster.

    Attributes:
      run: its folder on the shared file system.
      output: folder of its outputs there; None when they go to S3.
      output_uri: s3:// URI of the run's own folder; "" when they stay on the shared file system.
    """

    run: str
    output: str | None
    output_uri: str


def places(job: Job, options: SlurmOptions) -> Places:
    """Returns where a run lies."""
    run = f"{options.shared_dir.rstrip('/')}/runs/{RUN_ID}"
    given = job.run.storage.output
    if given is None:
        return Places(run=run, output=f"{run}/output", output_uri="")
    place = f"{given.rstrip('/')}/{RUN_ID}"
    return Places(run=run, output=None, output_uri=place) if given.startswith("s3://") else _on_shared(run, place)


def render(job: Job, program: Program, part: Part, *, once: bool, steps: str) -> str:
    """Returns the script.

    Args:
      job: the job.
      program: its program.
      part: the part of it that this job runs.
      once: whether the environment that all nodes share is set up before they begin.
      steps: name of the script with the part's steps; "" where it is the whole program's.
    """
    options = part.options
    at = places(job, options)
    parts = (
        _HEADER,
        "\n".join(directives(job, part, at)),
        "set -euo pipefail",
        _PLACES.format(run=at.run),
        _STEPS.format(steps=steps) if steps else "",
        _outputs(at, program, options),
        _ENDING.format(stopped=STOPPED),
        _RUN_STEP,
        _MEETING,
        _options_of_srun(options),
        _SCRATCH.format(scratch=options.scratch_dir) if options.container else "",
        _SET_UP.format(command=_srun(job, options, "setup.sh", alone=True)) if once else "",
        _TRAIN.format(command=_srun(job, options, "node.sh", auto_resume=options.hyperpod)),
        _requeue(at, program, options),
        _CLEAN.format(scratch=options.scratch_dir.rstrip("/"), run_id=RUN_ID),
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def directives(job: Job, part: Part, at: Places) -> Iterator[str]:
    """Yields the lines in which sbatch is told what the job asks for."""
    options = part.options
    asked: dict[str, str | int | bool | None] = {
        "job-name": f"{RUN_ID}.{part.name}" if part.name else RUN_ID,
        "nodes": part.nodes,
        "ntasks-per-node": 1,
        **_gpus(job, options),
        "cpus-per-task": options.cpus_per_task,
        "mem": options.mem,
        "exclusive": options.exclusive or None,
        "partition": options.partition,
        "account": options.account,
        "qos": options.qos,
        "time": options.time,
        "constraint": options.constraint,
        "reservation": options.reservation,
        "nodelist": options.nodelist,
        "exclude": options.exclude,
        "dependency": options.dependency,
        "begin": options.begin,
        "mail-user": options.mail.user,
        "mail-type": ",".join(options.mail.types) or None,
        **options.sbatch,
        # As far ahead of the time limit, the script is told, and no step.
        "signal": f"B:USR1@{options.requeue.lead_s}",
        ("requeue" if options.requeue.on_failed_node else "no-requeue"): True,
        "chdir": at.run,
        "output": f"{at.run}/logs/job-%j.log",
        # A job that was requeued goes on with its log.
        "open-mode": "append",
    }
    for name, value in asked.items():
        if value is not None:
            yield sbatch_options.line(name, value)


def gpu_count(job: Job) -> int:
    """Returns the GPUs that each node is asked for."""
    if job.topology.accelerator != "gpu":
        return 0
    return job.topology.processes_per_node


def _gpus(job: Job, options: SlurmOptions) -> dict[str, str]:
    count, way = gpu_count(job), options.gpu_request
    if way == "auto":
        # HyperPod's own Slurm configuration need not tell of GPUs; whoever has a whole node has them all.
        way = "none" if options.hyperpod and options.exclusive else "gpus-per-node"
    if not count or way == "none":
        return {}
    kind = f"{options.gpu_type}:" if options.gpu_type else ""
    return {"gres": f"gpu:{kind}{count}"} if way == "gres" else {"gpus-per-node": f"{kind}{count}"}


def _on_shared(run: str, place: str) -> Places:
    return Places(run=run, output=place, output_uri="")


_HEADER = """\
#!/usr/bin/env bash
# Starts one task on every node of the job, and waits for all of them: the exit code of the job is theirs.
# Written by smtrain; the same configuration gives the same file.
# shellcheck disable=SC2317  # traps call functions"""

_PLACES = """\
# Nothing in the environment of whoever submits moves the run; a rehearsal does.
[[ -n ${{SMTRAIN_REHEARSAL:-}} ]] || unset "${{!SMTRAIN_@}}"
run=${{SMTRAIN_REHEARSAL:-{run}}}
bundle=$run/bundle
if [[ ! -d $bundle ]]; then
  printf 'smtrain: there is no %s on %s: do the nodes share it with the login node?\\n' "$bundle" "$HOSTNAME" >&2
  exit 66
fi
export SMTRAIN_RUN=$run SMTRAIN_BUNDLE=$bundle SMTRAIN_END_FILE=$run/end
# A task of an array is a job whose id names the array, too.
job=$SLURM_JOB_ID
[[ -z ${{SLURM_ARRAY_JOB_ID:-}} ]] || job=${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID
mkdir -p -- "$run/jobs" "$run/logs"
# What an earlier try, or this job before it was requeued, has left.
rm -f -- "$SMTRAIN_END_FILE" "$run"/node-*/failure "$run/jobs/$job.exit_code"
trap 'printf "%s\\n" "$?" >"$run/jobs/$job.exit_code"' EXIT"""

_STEPS = """\
# A rehearsal runs all steps in one job.
[[ -n ${{SMTRAIN_REHEARSAL:-}} ]] || export SMTRAIN_STEPS={steps}"""

_ENDING = """\
# Every node's agent looks for this file, asks its step to end when it is there, and keeps what the step saves.
end() {{  # EXIT_CODE WHY
  printf '%s %s\\n' "$1" "$2" >"$run/.end-$job"
  mv -f -- "$run/.end-$job" "$SMTRAIN_END_FILE"
}}
why=
trap 'why=${{why:-time}}; end {stopped} "stopped because its time limit is near"' USR1
trap 'why=request; end {stopped} "stopped on request"' TERM INT HUP"""

_RUN_STEP = """\
# A trapped signal ends `wait`, whose answer is then none, and not the step: the exit code is written down beside it.
run_step() {  # COMMAND...
  local step ended=$run/.ended-$job
  rm -f -- "$ended"
  {
    trap : USR1 TERM INT HUP  # the step itself has them as they were
    code=0
    "$@" || code=$?
    printf '%s\\n' "$code" >"$ended"
  } &
  step=$!
  while kill -s 0 "$step" 2>/dev/null; do wait "$step" || true; done
  code=1
  if [[ -s $ended ]]; then code=$(<"$ended"); fi
}"""

_MEETING = """\
# The first node of the job is where the others meet; the port follows from the job, so that two jobs never share one.
# No pipe into head: what is written into a closed pipe is an error.
read -r SMTRAIN_MASTER_ADDR < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
export SMTRAIN_MASTER_ADDR SMTRAIN_MASTER_PORT=$((12000 + 2 * (SLURM_JOB_ID % 10000)))"""

_SCRATCH = """\
# What is mounted must be there.
run_step srun "${{srun[@]}}" mkdir -p -- {scratch}
((code == 0)) || exit "$code\""""

_SET_UP = """\
run_step {command}
((code == 0)) || exit "$code\""""

_TRAIN = """\
run_step {command}"""

_BINDING = r"""# Bound, a task of one CPU has one of all those that the job has; some clusters know no binding.
config=$(scontrol show config)
if [[ $config =~ TaskPlugin\ *=\ *[^[:cntrl:]]*(affinity|cgroup) ]]; then srun+=(--cpu-bind=none); fi"""

_AUTO_RESUME = """\
# Only HyperPod's srun knows this option, which replaces a failed node and runs the step again.
auto_resume=()
if [[ -d /opt/sagemaker_cluster ]]; then auto_resume=(--auto-resume=1); fi"""

_REQUEUE = """\
# Saved, and not done: back into the queue.
if ((code)) && [[ $why == time ]]; then
  if ((${{SLURM_RESTART_COUNT:-0}} >= {most})); then
    printf 'smtrain: requeued %s times already, which is the most\\n' "${{SLURM_RESTART_COUNT:-0}}" >&2
{no_checkpoint}  elif scontrol requeue "$job"; then
    trap - EXIT
    printf 'smtrain: the time limit is near: back into the queue, to go on from the newest checkpoint\\n' >&2
    sleep 300  # until Slurm ends this script
  fi
fi"""

_NO_CHECKPOINT = """\
  elif [[ $(checkpoints) == "$at_first" ]]; then  # it would go on so for ever
    printf 'smtrain: the time limit came before a checkpoint: raise it, or save more often where it trains\\n' >&2
"""

_CLEAN = """\
if ((code == 0)); then
  srun "${{srun[@]}}" rm -rf -- {scratch}/{run_id} || true
fi
exit "$code\""""


def _outputs(at: Places, program: Program, options: SlurmOptions) -> str:
    if not at.output:
        return f"export SMTRAIN_OUTPUT_URI={at.output_uri}\n{_MOVED_URI}"
    kept = [output for output in program.outputs if output.checkpoint_glob]
    lines = [f"export SMTRAIN_OUTPUT_DIR={at.output}", _MOVED_DIR]
    if kept and options.requeue.on_time_limit:
        lines += ["checkpoints() {", "  local folder", *map(_listing, kept), "}", "at_first=$(checkpoints)"]
    return "\n".join(lines)


_MOVED_URI = "[[ -z ${SMTRAIN_REHEARSAL:-} ]] || SMTRAIN_OUTPUT_URI=$run/store"
_MOVED_DIR = "[[ -z ${SMTRAIN_REHEARSAL:-} ]] || SMTRAIN_OUTPUT_DIR=$run/output"


def _listing(output: Output) -> str:
    folder = f'"$SMTRAIN_OUTPUT_DIR"/{shlex.quote(output.name)}/{shell.glob(output.checkpoint_glob)}'
    last = shlex.quote(output.checkpoint_complete) if output.checkpoint_complete else ""
    return f"""\
  for folder in {folder}; do
    if [[ -e $folder/{last} ]]; then printf '%s\\n' "$folder"; fi
  done"""


def _options_of_srun(options: SlurmOptions) -> str:
    own = "srun=(--ntasks-per-node=1 --mpi=none --kill-on-bad-exit=0 --wait=0)"
    logs = 'log=(--output="$run/logs/job-$job-node-%n.log" --open-mode=append)'
    return "\n".join(part for part in (own, _BINDING, logs, _AUTO_RESUME if options.hyperpod else "") if part)


def _srun(job: Job, options: SlurmOptions, script: str, *, alone: bool = False, auto_resume: bool = False) -> str:
    words = ["srun"]
    if auto_resume:
        words.append('"${auto_resume[@]}"')
    words += ['"${srun[@]}"', '"${log[@]}"']
    if alone:
        words.append("--nodes=1 --ntasks=1")
    return " ".join(
        (*words, *container.srun_words(options, container.shared_output(job)), container.command(options, script))
    )


def _requeue(at: Places, program: Program, options: SlurmOptions) -> str:
    if not options.requeue.on_time_limit:
        return ""
    seen = at.output and any(output.checkpoint_glob for output in program.outputs)
    return _REQUEUE.format(most=options.requeue.most, no_checkpoint=_NO_CHECKPOINT if seen else "")
