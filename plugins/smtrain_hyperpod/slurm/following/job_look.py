"""One look at a job on its login node: what Slurm says, and what the job has written down in the run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from smtrain.plugin import ExitCode, State, fail
from smtrain_hyperpod.transport.login_node import LoginNode

_LOOK = r"""
export SLURM_TIME_FORMAT=%s
job=$1 run=$2
section() { printf '\n@%s\n' "$1"; }
section scontrol; scontrol --oneliner show job "$job" 2>&1
section sacct
columns=State,ExitCode,Start,End,NNodes
sacct --jobs="$job" --allocations --noheader --parsable2 --format="$columns" 2>/dev/null | tail -n 1
section exit_code; cat -- "$run/jobs/$job.exit_code" 2>/dev/null
section stop; if [[ -e $run/jobs/$job.stop ]]; then echo stop; fi
section end; cat -- "$run/end" 2>/dev/null
section step; cat -- "$run/node-0/step" 2>/dev/null
section failure
for file in "$run"/node-*/failure; do
  if [[ -s $file ]]; then cat -- "$file"; printf '\n@failure\n'; fi
done
true
"""
_STATES: Mapping[str, State] = {
    **dict.fromkeys(("COMPLETED",), State.SUCCEEDED),
    **dict.fromkeys(("CANCELLED",), State.STOPPED),
    **dict.fromkeys(
        (
            *("BOOT_FAIL", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
            *("LAUNCH_FAILED", "RECONFIG_FAIL", "EXPEDITING_FAIL"),
        ),
        State.FAILED,
    ),
}
"""Slurm's states of a job that is over (squeue(1), "Job state codes"); in any other it goes on."""

_ABSENT = ("Invalid job id", " not found")
_SIGNAL = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was seen.

    Attributes:
      known: whether anybody knows the job.
      word: Slurm's word for its state; "" when it has forgotten the job.
      state: what that comes to.
      waits_for: why it does not run yet, in Slurm's word; "" when it does.
      exit_code: once it is over.
      started: POSIX seconds; None when it has not.
      ended: POSIX seconds; None when it has not, or nobody knows.
      nodes: how many it has, or asks for.
      restarts: how often it was requeued.
      step: of the program, that runs or ran last.
      failures: what the nodes wrote down of why it failed.
      stopped: whether it was asked to end.
    """

    known: bool
    word: str
    state: State
    waits_for: str
    exit_code: int | None
    started: float | None
    ended: float | None
    nodes: int | None
    restarts: int
    step: str
    failures: tuple[str, ...]
    stopped: bool


def look(login: LoginNode, job: str, run: str) -> Look:
    """Looks at a job, or at jobs of which each waits for the one before.

    Args:
      login: its login node.
      job: its id; those of several jobs with commas.
      run: folder of the run there.

    Raises:
      SmtrainError: the login node, or Slurm, cannot be reached.
    """
    first = seen = None
    for each in job.split(","):
        seen = _look(login, each, run)
        first = first or seen
        if seen.state is not State.SUCCEEDED:
            break
    assert first is not None
    assert seen is not None
    return replace(seen, started=seen.started and first.started)


def _look(login: LoginNode, job: str, run: str) -> Look:
    done = login.run(("bash", "-c", _LOOK, "look", job, run))
    sections = _sections(done.stdout)
    said = "".join(sections.get("scontrol", ())).strip()
    fields = _fields(said)
    if "JobState" in fields:
        return _seen(fields, sections)
    rows = "".join(sections.get("sacct", ())).strip().split("|")
    if len(rows) == len(_COLUMNS) and rows[0]:
        return _seen(dict(zip(_COLUMNS, rows, strict=True)), sections)
    if not any(text in said for text in _ABSENT):
        what = f"Slurm on {login.name} does not answer: {said or done.stderr.strip() or 'it says nothing'}"
        raise fail(what, "Ask its administrator, or try again later.", code=ExitCode.REMOTE_REFUSED)
    return _forgotten(sections)


_COLUMNS = ("JobState", "ExitCode", "StartTime", "EndTime", "NumNodes")


def _sections(text: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    name = ""
    for line in text.splitlines(keepends=True):
        if line.startswith("@"):
            name = line[1:].strip()
            found[name] = (*found.get(name, ()), "")
        elif name:
            *earlier, last = found[name]
            found[name] = (*earlier, last + line)
    return found


def _fields(text: str) -> dict[str, str]:
    """Returns the fields of `scontrol show job`; the first of each name, since a comment may hold anything."""
    fields: dict[str, str] = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        if equals:
            fields.setdefault(name, value)
    return fields


def _seen(fields: Mapping[str, str], sections: Mapping[str, tuple[str, ...]]) -> Look:
    word = fields["JobState"].split()[0].rstrip("+")  # sacct: "CANCELLED by 1000"
    state = _STATES.get(word, State.RUNNING)
    stopped = _is_stopped(sections)
    waits = word not in ("RUNNING", "COMPLETING") and state is State.RUNNING
    code, _, signal = fields.get("ExitCode", "").partition(":")
    number = int(code) if code.isdigit() else 0
    if not number and signal.isdigit() and int(signal):
        number = _SIGNAL + int(signal)
    return Look(
        known=True,
        word=word,
        state=State.STOPPED if state is State.FAILED and stopped else state,
        waits_for=fields.get("Reason", "").replace("None", "") if waits else "",
        exit_code=None if state is State.RUNNING else number,
        started=None if waits else _seconds(fields.get("StartTime")),
        ended=None if state is State.RUNNING else _seconds(fields.get("EndTime")),
        nodes=_count(fields.get("NumNodes")),
        restarts=_count(fields.get("Restarts")) or 0,
        step=_step(sections),
        failures=_failures(sections),
        stopped=stopped,
    )


def _forgotten(sections: Mapping[str, tuple[str, ...]]) -> Look:
    """Without accounting, Slurm forgets a job minutes after its end; the job itself has written its exit code down.

    A task of an array that is cancelled before it runs is forgotten at once.
    """
    code = _count("".join(sections.get("exit_code", ())).strip())
    stopped = _is_stopped(sections)
    failed = State.STOPPED if stopped else State.LOST if code is None else State.FAILED
    return Look(
        known=code is not None or stopped,
        word="",
        state=State.SUCCEEDED if code == 0 else failed,
        waits_for="",
        exit_code=code,
        started=None,
        ended=None,
        nodes=None,
        restarts=0,
        step=_step(sections),
        failures=_failures(sections),
        stopped=stopped,
    )


def _step(sections: Mapping[str, tuple[str, ...]]) -> str:
    return "".join(sections.get("step", ())).strip()


def _failures(sections: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(text for each in sections.get("failure", ()) if (text := each.strip()))


def _is_stopped(sections: Mapping[str, tuple[str, ...]]) -> bool:
    return "stop" in "".join(sections.get("stop", ())) or "on request" in "".join(sections.get("end", ()))


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isdigit() else None


def _count(text: str | None) -> int | None:
    head = (text or "").partition("-")[0]
    return int(head) if head.isdigit() else None
