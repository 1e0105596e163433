"""The bash script that runs a program on one node, the same for every backend that starts programs with a script.

A backend supplies `bindings`: bash source that gives a value to every variable of `CONTRACT` and of the program, in
which `fail EXIT_CODE MESSAGE` is at hand. What follows the bindings is the same everywhere.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import PurePosixPath

from smtrain import program_rules, shell, target_paths
from smtrain.errors import SmtrainError
from smtrain.program_rules import problems
from smtrain.spec import EnvVar, Input, Output, Program, RuntimeVar, Scope, Step
from smtrain.target_paths import problems as target_path_problems

__all__ = ["CONTRACT", "MISSING_INPUT", "in_place", "place", "problems", "render", "target_path_problems", "variables"]

CONTRACT = {
    "SMTRAIN_BUNDLE": "the bundle's folder",
    "SMTRAIN_RUN_DIR": "the folder in which this node records what happens: `step` and `exit_code`",
    "SMTRAIN_WORK": "the working directory; made here",
    "SMTRAIN_RESUME": "auto: go on from the newest whole checkpoint; anything else: start afresh",
    "SMTRAIN_NODE_RANK": "0 on the first node",
    "SMTRAIN_OUTPUT_DIR": "the folder that keeps the outputs, each under its name; made here",
}
"""What bindings must set in any case, beside the runtime variables and inputs that the program uses.

May be set: `shell.output_variable(name)`, the folder of an output that is kept elsewhere; SMTRAIN_GRACE_S, the seconds
that a step has to end after a signal before it is killed; SMTRAIN_LIBRARY, the folder of the program's library, which
is the bundle's `library` otherwise, as its files are in `program`.
"""

MISSING_INPUT = 66
"""Exit code of the script when an input is not there: EX_NOINPUT of sysexits.h."""

_FOLDERS = (RuntimeVar.CHECKPOINT_DIR, RuntimeVar.MODEL_DIR, RuntimeVar.SCRATCH_DIR)

_RECORD = """\
fail() {  # EXIT_CODE MESSAGE
  printf 'smtrain: %s\\n' "$2" >&2
  exit "$1"
}

record() {  # NAME TEXT
  if [[ -n ${SMTRAIN_RUN_DIR:-} && ${SMTRAIN_NODE_RANK:-0} == 0 ]]; then
    printf '%s\\n' "$2" >"$SMTRAIN_RUN_DIR/$1"
  fi
}
trap 'record exit_code "$?" || true' EXIT

# A signal goes on to the processes of the running step, and the script waits for them, since they may be saving: for
# SMTRAIN_GRACE_S seconds, or as long as it takes.
signalled=
deadline=0
on_signal() {  # NAME NUMBER
  local steps step
  signalled=$2
  mapfile -t steps < <(jobs -pr)
  ((${#steps[@]})) || exit "$((128 + signalled))"
  for step in "${steps[@]}"; do kill -s "$1" -- "-$step" || true; done
  deadline=$((SECONDS + ${SMTRAIN_GRACE_S:-0} + 1))  # SECONDS is rounded down
}
trap 'on_signal HUP 1' HUP
trap 'on_signal INT 2' INT
trap 'on_signal TERM 15' TERM

run_step() {  # NAME COMMAND...
  local name=$1 step code
  shift
  record step "$name"
  printf 'smtrain: step %s\\n' "$name" >&2
  # With job control a step is a process group of its own, and does not ignore SIGINT as background commands do.
  set -m
  "$@" </dev/null &
  step=$!
  set +m
  # A trapped signal ends `wait` but not the step.
  while true; do
    code=0
    wait "$step" || code=$?
    kill -s 0 "$step" 2>/dev/null || break
    while [[ -n ${SMTRAIN_GRACE_S:-} && -n $signalled ]] && kill -s 0 "$step" 2>/dev/null; do
      ((SECONDS < deadline)) || kill -s KILL -- "-$step" || true
      sleep 0.1
    done
  done
  [[ -z $signalled ]] || exit "$((128 + signalled))"
  ((code == 0)) || fail "$code" "step $name failed with exit code $code"
}"""

_OUTPUTS = """\
set_aside() {  # FOLDER
  local number=1
  # The first node alone: the folder may be shared, and the others would move what is new.
  [[ $SMTRAIN_NODE_RANK == 0 ]] || return 0
  while [[ -e $SMTRAIN_OUTPUT_DIR/aside-$number/${1##*/} ]]; do number=$((number + 1)); done
  mkdir -p -- "$SMTRAIN_OUTPUT_DIR/aside-$number"
  mv -- "$1" "$SMTRAIN_OUTPUT_DIR/aside-$number/"
  printf 'smtrain: set %s aside in %s\\n' "$1" "$SMTRAIN_OUTPUT_DIR/aside-$number" >&2
}

# The newest by number (100 comes after 20). One without its last file was being written when an earlier try died: the
# trainer must not take it for the newest either.
newest=-1
find_checkpoint() {  # LAST_FILE FOLDER...
  local last_file=$1 folder number
  shift
  [[ $SMTRAIN_RESUME == auto ]] || return 0
  for folder in "$@"; do
    [[ -d $folder ]] || continue
    if [[ ! -e $folder/$last_file ]]; then
      set_aside "$folder"
      continue
    fi
    number=${folder##*[!0-9]}
    number=$((10#${number:-0}))
    if ((number > newest)); then
      newest=$number
      SMTRAIN_RESUME_FROM=$folder
    fi
  done
}

# A program that starts from the beginning finds its outputs empty: trainers refuse, or take up, what lies there.
start_afresh() {  # FOLDER
  if [[ -n "$(ls -A -- "$1")" ]]; then
    set_aside "$1"
    mkdir -p -- "$1"
  fi
}"""

_LINK = """\
link() {  # TARGET PATH
  if [[ $2 == */* ]]; then mkdir -p -- "${2%/*}"; fi
  [[ -L $2 || ! -e $2 ]] || fail 73 "$SMTRAIN_WORK/$2 is in the way of a link to $1"
  ln -sfn -- "$1" "$2"
}"""


def render(program: Program, *, bindings: str, continued: bool = False) -> str:
    """Returns the script.

    Args:
      program: what to run.
      bindings: bash source that sets what `CONTRACT` names, and the variable of every runtime variable and input that
        the program uses (`shell.variable_name`, `shell.input_variable`).
      continued: whether earlier steps of the program ran elsewhere, and their outputs are to be kept.

    Raises:
      SmtrainError: the program breaks a rule of `problems`.
    """
    found = [problem for problem in problems(program) if problem.is_error]
    if found:
        raise SmtrainError(found)
    parts = (
        _header(program),
        _RECORD,
        _section("This target's own", bindings.strip("\n")),
        _section("The working directory", _folders(program)),
        _section("Outputs", _outputs(program.outputs, continued=continued)),
        _section("Links", _links(program)),
        _section("Environment", _environment(program.env)),
        _section("Steps", "\n\n".join(map(_step, program.steps))),
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def place(path: str) -> str:
    """Returns a path that the user wrote as bash source: `~` is the target's home, relative is to SMTRAIN_BASE.

    `target:/path` is that path: the target is where this is read.
    """
    path = target_paths.path_there(path)
    if path == "~":
        return '"$HOME"'
    if path.startswith("~/"):
        return f'"$HOME"/{shlex.quote(path[2:])}'
    return shlex.quote(path) if path.startswith("/") else f'"$SMTRAIN_BASE"/{shlex.quote(path)}'


def in_place(item: Input) -> str:
    """Returns bash source that binds an input to the path that the target already has, or fails before any step."""
    variable = shell.input_variable(item.name)
    message = shlex.quote(f"input {item.name}: there is nothing at ")
    return f'{variable}={place(item.uri)}\n[[ -e ${variable} ]] || fail {MISSING_INPUT} {message}"${variable}"'


def variables(program: Program) -> frozenset[RuntimeVar]:
    """Returns the runtime variables that the program's commands and environment use."""
    return shell.runtime_variables(program_rules.words(program))


def _header(program: Program) -> str:
    names = ", ".join(step.name for step in program.steps)
    return f"""\
#!/usr/bin/env bash
# Runs on each node, in this order: {names}.
# Written by smtrain; the same configuration gives the same file.
# shellcheck disable=SC1003,SC2016,SC2089,SC2090  # text of the configuration stands in single quotes as it is
set -euo pipefail"""


def _section(title: str, body: str) -> str:
    rule = "-" * (116 - len(title))
    return f"# {rule} {title}\n\n{body}" if body else ""


def _folders(program: Program) -> str:
    used = variables(program)
    folders = ['"$SMTRAIN_WORK"', '"$SMTRAIN_OUTPUT_DIR"']
    folders += [shell.quote(variable) for variable in _FOLDERS if variable in used]
    lines = [f"mkdir -p -- {' '.join(folders)}", 'cd -- "$SMTRAIN_WORK"']
    if program.library:
        lines.append('cp -Rf -- "${SMTRAIN_LIBRARY:-$SMTRAIN_BUNDLE/library}/." .')
    if program.files:
        lines.append('cp -Rf -- "$SMTRAIN_BUNDLE/program/." .')
    return "\n".join(lines)


def _outputs(outputs: tuple[Output, ...], *, continued: bool) -> str:
    if not outputs:
        return ""
    lines = []
    for output in outputs:
        variable = shell.output_variable(output.name)
        lines.append(f'[[ -n ${{{variable}:-}} ]] || {variable}="$SMTRAIN_OUTPUT_DIR"/{shlex.quote(output.name)}')
        lines.append(f'mkdir -p -- "${variable}"')
    lines += ["", f"unset {shell.RESUME_VARIABLE}"]
    lines += [
        f"find_checkpoint {shlex.quote(output.checkpoint_complete)}"
        f' "${shell.output_variable(output.name)}"/{shell.glob(output.checkpoint_glob)}'
        for output in outputs
        if output.checkpoint_glob
    ]
    lines += [f"if [[ -n ${{{shell.RESUME_VARIABLE}+set}} ]]; then"]
    lines += [f"  printf 'smtrain: going on from %s\\n' \"${shell.RESUME_VARIABLE}\" >&2"]
    if not continued:
        lines += ["else", *(f'  start_afresh "${shell.output_variable(output.name)}"' for output in outputs)]
    lines += ["fi"]
    return f"{_OUTPUTS}\n\n" + "\n".join(lines)


def _links(program: Program) -> str:
    targets = {item.path: shell.input_variable(item.name) for item in program.inputs}
    targets |= {output.path: shell.output_variable(output.name) for output in program.outputs}
    # Sorted, so that one inside another is linked after it.
    links = [f'link "${target}" {shlex.quote(str(PurePosixPath(path)))}' for path, target in sorted(targets.items())]
    return f"{_LINK}\n\n" + "\n".join(links) if links else ""


def _environment(env: Iterable[EnvVar]) -> str:
    return shell.assignments({variable.name: variable.value for variable in env})


def _step(step: Step) -> str:
    name = shlex.quote(step.name)
    if step.scope is Scope.EVERY_NODE:
        return f"run_step {name} \\\n  {shell.command_lines(step.argv)}"
    command = shell.command_lines(step.argv, indent="    ")
    return f"if [[ $SMTRAIN_NODE_RANK == 0 ]]; then\n  run_step {name} \\\n    {command}\nfi"
