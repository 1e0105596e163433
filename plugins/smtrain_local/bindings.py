"""What only this machine knows, as bash source: interpreter, folders, a free port, GPUs that no other run has."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from smtrain.plugin import Input, Job, Program, Staging, launch_script, shell

NO_DEVICE = 69
"""Exit code when the machine lacks what the run needs: EX_UNAVAILABLE of sysexits.h."""

BUSY = 75
"""Exit code when other runs have it, so that a later try may succeed: EX_TEMPFAIL."""

NO_SECRET = 78
"""Exit code when a secret is not there: EX_CONFIG."""

_PLACES = """\
SMTRAIN_BASE=${SMTRAIN_BASE:-$PWD}
SMTRAIN_BUNDLE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
SMTRAIN_RUN_DIR=${SMTRAIN_BUNDLE%/*}
SMTRAIN_WORK=$SMTRAIN_RUN_DIR/work
SMTRAIN_SCRATCH_DIR=$SMTRAIN_RUN_DIR/scratch
SMTRAIN_RESUME=${SMTRAIN_RESUME:-auto}
SMTRAIN_NODE_RANK=0
SMTRAIN_NUM_NODES=1"""

_FOLDERS = """\
SMTRAIN_CHECKPOINT_DIR=$SMTRAIN_OUTPUT_DIR/checkpoints
SMTRAIN_MODEL_DIR=$SMTRAIN_OUTPUT_DIR/model"""

_LEASES = """\
# A lease is a locked file. This script and its steps hold it open, so it ends with the last of them, however they end.
lease_dir=${SMTRAIN_LEASE_DIR:-/tmp/smtrain-$UID}
(umask 077 && mkdir -p -- "$lease_dir")
[[ -O $lease_dir ]] || fail 73 "$lease_dir belongs to somebody else; set SMTRAIN_LEASE_DIR to a folder of your own"
lease() {  # NAME
  local lock
  exec {lock}>>"$lease_dir/$1"
  flock --nonblock "$lock" && return
  exec {lock}>&-
  return 1
}"""

_PORT = """\
SMTRAIN_MASTER_ADDR=127.0.0.1
until SMTRAIN_MASTER_PORT=$("$SMTRAIN_PYTHON" -S -c '
import socket
with socket.socket() as listener:
    listener.bind(("127.0.0.1", 0))
    print(listener.getsockname()[1])
') && lease "port-$SMTRAIN_MASTER_PORT"; do
  [[ -n $SMTRAIN_MASTER_PORT ]] || fail 69 "$SMTRAIN_PYTHON found no free port"
done"""

_LOOK_FOR_PACKAGES = """
import importlib.metadata, re, sys

def release(version):
    # PEP 440: 2.4 is 2.4.0. What follows is left out: 2.4.0a0+nv24.06, as some vendors build it, is 2.4 and not older.
    numbers = re.match(r"v?(?:[0-9]+!)?([0-9]+(?:[.][0-9]+)*)", version)[1].split(".")
    while len(numbers) > 1 and not int(numbers[-1]):
        numbers.pop()
    return [int(number) for number in numbers]

lacking = []
for word in sys.argv[1:]:
    name, _, specifier = word.partition(" ")
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        lacking.append(f"{name}{specifier} is not installed")
    else:
        if specifier.startswith("==") and found.partition("+")[0] != specifier[2:]:
            lacking.append(f"{name} is {found}, not {specifier[2:]}")
        if specifier.startswith(">=") and release(found) < release(specifier[2:]):
            lacking.append(f"{name} is {found}, older than {specifier[2:]}")
sys.exit("smtrain: " + "; ".join(lacking) if lacking else 0)
"""

_GPUS = """\
# nvidia-smi counts in the order of the bus; CUDA is told to do the same.
export CUDA_DEVICE_ORDER=${CUDA_DEVICE_ORDER:-PCI_BUS_ID}
declare -A uuid_of=() index_of=()
gpus=()
if command -v nvidia-smi >/dev/null; then
  if listing=$(nvidia-smi --query-gpu=index,uuid --format=csv,noheader); then
    while IFS=', ' read -r index uuid; do
      [[ -n $uuid ]] || continue
      gpus+=("$index")
      uuid_of[$index]=$uuid
      index_of[$uuid]=$index
    done <<<"$listing"
  else
    printf 'smtrain: nvidia-smi failed, so this machine counts as one without GPUs: %s\\n' "$listing" >&2
  fi
fi
# CUDA_VISIBLE_DEVICES, where it is set, says which of them are ours at all.
if ((${#gpus[@]})) && [[ -n ${CUDA_VISIBLE_DEVICES+set} ]]; then
  IFS=, read -r -a gpus <<<"$CUDA_VISIBLE_DEVICES"
fi
if ((${#allowed[@]})); then
  seen=("${gpus[@]}")
  gpus=()
  for gpu in "${seen[@]}"; do
    for index in "${allowed[@]}"; do
      if [[ ${index_of[$gpu]:-$gpu} == "$index" ]]; then gpus+=("$gpu"); fi
    done
  done
fi
if ((${#gpus[@]} == 0)); then
  [[ $accelerator == auto ]] || fail 69 "compute.accelerator=gpu, but there is no GPU here that the run may use"
elif ((${#gpus[@]} < SMTRAIN_PROCS_PER_NODE)); then
  fail 69 "the run needs $SMTRAIN_PROCS_PER_NODE GPUs, one a process, and may use ${#gpus[@]} here:\
 lower compute.processes_per_node, or set compute.accelerator=cpu"
else
  leased=()
  # One run at a time chooses, so that two never take half each of what either needs.
  exec {choosing}>>"$lease_dir/choosing"
  flock "$choosing"
  for gpu in "${gpus[@]}"; do
    ((${#leased[@]} < SMTRAIN_PROCS_PER_NODE)) || break
    if lease "gpu-${uuid_of[$gpu]:-$gpu}"; then leased+=("$gpu"); fi
  done
  exec {choosing}>&-
  ((${#leased[@]} == SMTRAIN_PROCS_PER_NODE)) || fail 75 "the run needs $SMTRAIN_PROCS_PER_NODE GPUs, and\
 ${#leased[@]} of ${#gpus[@]} are free: other runs have the rest (smtrain ps); try again when they have ended"
  CUDA_VISIBLE_DEVICES=$(IFS=,; printf '%s' "${leased[*]}")
  export CUDA_VISIBLE_DEVICES
  printf 'smtrain: GPUs %s\\n' "$CUDA_VISIBLE_DEVICES" >&2
fi"""

_THREADS = """\
# Without this every process would start as many threads as there are cores.
if [[ -z ${OMP_NUM_THREADS:-} ]]; then
  OMP_NUM_THREADS=$(($(nproc) / SMTRAIN_PROCS_PER_NODE))
  ((OMP_NUM_THREADS)) || OMP_NUM_THREADS=1
fi
export OMP_NUM_THREADS"""

_EXPORT = """\
export SMTRAIN_BASE SMTRAIN_BUNDLE SMTRAIN_CHECKPOINT_DIR SMTRAIN_MASTER_ADDR SMTRAIN_MASTER_PORT SMTRAIN_MODEL_DIR \\
  SMTRAIN_NODE_RANK SMTRAIN_NUM_NODES SMTRAIN_OUTPUT_DIR SMTRAIN_PROCS_PER_NODE SMTRAIN_PYTHON SMTRAIN_SCRATCH_DIR"""


def render(job: Job, program: Program, *, python: str | None, gpus: tuple[int, ...] | None, grace_s: int) -> str:
    """Returns the bindings of `launch_script.render`.

    Args:
      job: the job.
      program: its program, for the inputs.
      python: the trainer's interpreter as the user wrote it; None takes $SMTRAIN_PYTHON, which submitting sets.
      gpus: indices of the GPUs that may be used; None allows all.
      grace_s: seconds between a signal and the kill.
    """
    return "\n\n".join(
        part
        for part in (
            _PLACES,
            _output(job),
            f"SMTRAIN_PROCS_PER_NODE={job.topology.processes_per_node}\nSMTRAIN_GRACE_S={grace_s}",
            "\n".join(_inputs(program)),
            "\n".join(_secrets(job)),
            _interpreter(python),
            _packages(program),
            _LEASES,
            _PORT,
            _accelerator(job.topology.accelerator, gpus),
            _THREADS,
            _EXPORT,
        )
        if part
    )


def secret_source(reference: str) -> str | None:
    """Returns the environment variable that a secret's reference names; None when it names something else."""
    found = re.fullmatch(r"env:([A-Za-z_][A-Za-z0-9_]*)", reference)
    return found[1] if found else None


def _output(job: Job) -> str:
    if job.run.storage.output is None:
        return f"SMTRAIN_OUTPUT_DIR=$SMTRAIN_RUN_DIR/output\n{_FOLDERS}"
    # Each run has its own folder in there, as everywhere: two would overwrite one another. The link leads to it.
    return f"""\
SMTRAIN_OUTPUT_DIR={launch_script.place(job.run.storage.output)}/${{SMTRAIN_RUN_DIR##*/}}
mkdir -p -- "$SMTRAIN_OUTPUT_DIR"
ln -sfn -- "$SMTRAIN_OUTPUT_DIR" "$SMTRAIN_RUN_DIR/output"
{_FOLDERS}"""


def _inputs(program: Program) -> Iterator[str]:
    for item in program.inputs:
        if item.staging is Staging.IN_PLACE:
            yield launch_script.in_place(item)
        else:
            yield f'{shell.input_variable(item.name)}="$SMTRAIN_BUNDLE"/{shlex.quote(_bundled_path(item))}'


def _bundled_path(item: Input) -> str:
    folder = f"inputs/{item.name}"
    return f"{folder}/{item.files[0].path.name}" if len(item.files) == 1 else folder


def _secrets(job: Job) -> Iterator[str]:
    for name, reference in sorted(job.run.secrets.items()):
        source = secret_source(reference)
        message = shlex.quote(f"secret {name}: the environment variable {source} is not set here")
        yield f"[[ -n ${{{source}+set}} ]] || fail {NO_SECRET} {message}\nexport {name}=${source}"


def _interpreter(python: str | None) -> str:
    said = "${SMTRAIN_PYTHON:-python3}"
    if python is not None:
        said = launch_script.place(python) if "/" in python else shlex.quote(python)
    return f"""\
SMTRAIN_PYTHON={said}
command -v -- "$SMTRAIN_PYTHON" >/dev/null ||
  fail {NO_DEVICE} "there is no interpreter $SMTRAIN_PYTHON: set backend.python"
# The programs of its environment (ninja, for one, which DeepSpeed compiles with) are found as if it were activated.
if [[ $SMTRAIN_PYTHON == */* ]]; then export PATH="${{SMTRAIN_PYTHON%/*}}:$PATH"; fi"""


def _packages(program: Program) -> str:
    """Returns the look at the trainer's packages, which a training would miss a minute later, and less clearly."""
    wanted = [f"{package.name} {package.specifier}".strip() for package in program.needs.packages]
    if not wanted:
        return ""
    return f"""\
"$SMTRAIN_PYTHON" -c '{_LOOK_FOR_PACKAGES}' {" ".join(map(shlex.quote, wanted))} ||
  fail {NO_DEVICE} "install it for $SMTRAIN_PYTHON, or set backend.python to an interpreter that has it\""""


def _accelerator(accelerator: str, gpus: tuple[int, ...] | None) -> str:
    if accelerator == "cpu":
        return 'export CUDA_VISIBLE_DEVICES=""'
    allowed = " ".join(map(str, dict.fromkeys(gpus or ())))
    return f"accelerator={accelerator}\nallowed=({allowed})\n{_GPUS}"
