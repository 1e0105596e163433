"""The options of sbatch: which there are, which of them are smtrain's own business, and how a line says one.

From sbatch(1) of Slurm 22.05 and of 24.11 (https://slurm.schedmd.com/sbatch.html).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from smtrain.plugin import RUN_ID, Problem, suggest

_VALUE = frozenset(
    (
        *("account", "acctg-freq", "array", "batch", "bb", "bbf", "begin", "chdir", "cluster-constraint"),
        *("clusters", "comment", "consolidate-segments", "constraint", "container", "container-id"),
        *("core-spec", "cores-per-socket", "cpu-freq", "cpus-per-gpu", "cpus-per-task", "deadline"),
        *("delay-boot", "dependency", "error", "exclude", "export", "export-file", "extra", "extra-node-info"),
        *("gid", "gpu-bind", "gpu-freq", "gpus", "gpus-per-node", "gpus-per-socket", "gpus-per-task", "gres"),
        *("gres-flags", "hint", "input", "job-name", "kill-on-invalid-dep", "licenses", "mail-type"),
        *("mail-user", "mcs-label", "mem", "mem-bind", "mem-per-cpu", "mem-per-gpu", "mincpus", "network"),
        *("nodefile", "nodelist", "nodes", "ntasks", "ntasks-per-core", "ntasks-per-gpu", "ntasks-per-node"),
        *("ntasks-per-socket", "oom-kill-step", "open-mode", "output", "partition", "power", "prefer"),
        *("priority", "profile", "qos", "reservation", "resv-ports", "segment", "signal", "sockets-per-node"),
        *("switches", "thread-spec", "threads-per-core", "time", "time-min", "tmp", "tres-bind"),
        *("tres-per-task", "uid", "wait-all-nodes", "wckey", "wrap"),
    )
)
_FLAG = frozenset(
    (
        *("contiguous", "help", "hold", "ignore-pbs", "no-requeue", "overcommit", "oversubscribe", "parsable"),
        *("quiet", "reboot", "requeue", "spread-job", "test-only", "usage", "use-min-nodes", "verbose"),
        *("version", "wait"),
    )
)
_EITHER = frozenset(("exclusive", "get-user-env", "nice", "no-kill", "propagate"))
"""Flags that may have a value, too."""

_SETTINGS: Mapping[str, str] = {
    "job-name": "name",
    "nodes": "compute.nodes",
    "gpus": "compute.gpus_per_node",
    "gpus-per-node": "compute.gpus_per_node",
    **{name: f"backend.{name}" for name in ("partition", "account", "qos", "time", "exclusive", "constraint")},
    **{name: f"backend.{name}" for name in ("reservation", "nodelist", "exclude", "dependency", "begin", "mem")},
    "array": "backend.array",
    "cpus-per-task": "backend.cpus_per_task",
    "mail-type": "backend.mail.types",
    "mail-user": "backend.mail.user",
    "container": "backend.container",
    "requeue": "backend.requeue.on_failed_node",
    "no-requeue": "backend.requeue.on_failed_node",
    "signal": "backend.requeue.lead_s",
}
"""Options that a setting of smtrain's says."""

_OURS = frozenset(
    (
        *("batch", "chdir", "container-id", "error", "export", "export-file", "get-user-env", "gid"),
        *("gpus-per-socket", "gpus-per-task", "gres", "help", "ignore-pbs", "input", "nodefile", "ntasks"),
        *("ntasks-per-core", "ntasks-per-gpu", "ntasks-per-node", "ntasks-per-socket", "open-mode", "output"),
        *("overcommit", "parsable", "quiet", "test-only", "uid", "usage", "use-min-nodes", "verbose"),
        *("version", "wait", "wrap"),
    )
)
"""Options without which the job would not be the one that was compiled, or could not be followed."""

_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./\[\]*()&|!^~-]*", re.ASCII)
_LONGEST_LINE = 1023
"""Characters of a line that sbatch reads (BUFFER_SIZE of its opt.c is 1024)."""


def problems(given: Mapping[str, str | int | bool]) -> Iterator[Problem]:
    """Yields what is wrong with the further options of `backend.sbatch`."""
    for name, value in given.items():
        fault = _name_fault(name) or _value_fault(name, value)
        if fault:
            yield Problem(key=f"backend.sbatch.{name}", what=fault[0], fix=fault[1])


def text_fault(value: str) -> str:
    """Says why a text cannot be an option's value; "" when it can."""
    if not value:
        return "It is empty."
    if not value.isprintable():
        return f"{value!r} has characters in it that no line of a script can have."
    return f"It is longer than {_LONGEST_LINE // 2} characters." if len(value.encode()) > _LONGEST_LINE // 2 else ""


def line(name: str, value: str | int | bool) -> str:
    """Returns the line that says an option, quoted as sbatch unquotes it."""
    if value is True:
        return f"#SBATCH --{name}"
    text = str(value)
    return f"#SBATCH --{name}={text if _PLAIN.fullmatch(text.replace(RUN_ID, '')) else _quoted(text)}"


def _quoted(text: str) -> str:
    # sbatch takes a backslash for an escape outside of single quotes (get_argument of its opt.c).
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def _name_fault(name: str) -> tuple[str, str] | None:
    if name in _SETTINGS:
        return f"`--{name}` is said by {_SETTINGS[name]}.", f"Set {_SETTINGS[name]}."
    if name in _OURS:
        return f"`--{name}` is for smtrain to say: the job would not be what was compiled.", "Leave it out."
    known = _VALUE | _FLAG | _EITHER
    if name not in known:
        return f"sbatch has no option `--{name}`.", suggest.did_you_mean(name, known - _OURS)
    return None


def _value_fault(name: str, value: str | int | bool) -> tuple[str, str] | None:
    if value is False:
        return f"`--{name}` cannot be switched off.", "Leave it out."
    if value is True and name in _VALUE:
        return f"`--{name}` needs a value.", f"Write {name}: VALUE."
    if value is not True and name in _FLAG:
        return f"`--{name}` takes no value.", f"Write {name}: true."
    fault = text_fault(str(value)) if value is not True else ""
    return (fault, "Correct it.") if fault else None
