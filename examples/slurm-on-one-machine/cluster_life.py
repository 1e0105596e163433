"""Starting a cluster, stopping it, and what its nodes are."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import accounting
import daemons
import files
from configuration import ADDRESS, Cluster
from daemons import Daemon

_UP_S, _JOBS_S, _POLL_S = 30.0, 40.0, 0.05
_DAEMONS = "daemons.json"
_TAKES_JOBS = frozenset({"idle", "allocated", "mixed", "completing"})

# Process 1 of a node: collects what ends there, and takes everything along when it is killed.
_NODE = """\
set -eu
hostname "$1"
mount --bind "$2" /etc/hosts
slurmd -D -f "$3" &
while kill -0 $! 2>/dev/null; do wait $! || true; done
"""
NAMESPACES = ("unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child=KILL", "--mount-proc")


def start(cluster: Cluster) -> None:
    """Starts what does not run, and waits until every node takes jobs.

    Raises:
      RuntimeError: something did not come up; says what the logs say, and all that had started is ended.
    """
    known = running(cluster.folder)
    if not known:
        files.write(cluster, version=_version())
    ready: dict[str, Callable[[], bool]] = {
        "munged": cluster.socket.exists,
        "mariadbd": lambda: _listens(cluster.database_port),
        "slurmdbd": lambda: _listens(cluster.accounting_port),
        "slurmctld": lambda: ask(cluster, "scontrol", "ping")[0] == 0,
    }
    for name, argv in _commands(cluster).items():
        if name not in known:
            known[name] = daemons.start(name, argv, log=cluster.folder / "log" / f"{name}.out")
            daemons.write(cluster.folder / _DAEMONS, known)
        if name in ready:
            _wait(cluster, known, ready[name], name)
    _wait(cluster, known, lambda: _takes_jobs(cluster), "A node")


def stop(cluster: Cluster) -> None:
    """Cancels all jobs, gives them time to end, and ends every process of the cluster."""
    known = running(cluster.folder)
    if {"munged", "slurmctld"} <= set(known):
        _cancel(cluster)
    _end(known)
    daemons.write(cluster.folder / _DAEMONS, {})


def unplug(cluster: Cluster, node: str, *, told: bool) -> None:
    """Ends a node and all its processes at once, as if it had lost power; `start` brings it back.

    Args:
      cluster: the cluster.
      node: the node's name.
      told: whether the controller hears of it at once; by itself, it takes half a minute to find out.
    """
    known = running(cluster.folder)
    if node in known:
        known[node].end(signal.SIGKILL)
    words = ("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=unplugged")
    if told and ask(cluster, *words)[0]:
        message = f"{node} is off, and the controller does not listen; it will find out within half a minute."
        raise RuntimeError(message)


def names(cluster: Cluster) -> tuple[str, ...]:
    """Returns the names of all processes that a cluster has when it is up."""
    return tuple(_commands(cluster))


def running(folder: Path) -> dict[str, Daemon]:
    """Returns name → daemon of a cluster's processes that are alive."""
    return daemons.read(folder / _DAEMONS)


def ask(cluster: Cluster, *argv: str) -> tuple[int, str]:
    """Returns the exit code and the output of one of Slurm's commands."""
    env = {**os.environ, "SLURM_CONF": str(cluster.conf)}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout


def _version() -> tuple[int, ...]:
    # E.g. "slurm-wlm 22.05.8" or "slurm 24.11.5".
    words = ("slurmctld", "-V")
    printed = subprocess.run(words, env=daemons.environment(), capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in printed.split()[-1].split(".") if part.isdigit())


def _commands(cluster: Cluster) -> dict[str, tuple[str, ...]]:
    """Returns name → words of every process, in the order in which they start."""
    run, log = cluster.folder / "run", cluster.folder / "log"
    munged = {"key-file": cluster.key, "socket": cluster.socket, "pid-file": run / "munged.pid"}
    munged |= {"log-file": log / "munged.log", "seed-file": run / "munged.seed"}
    return {
        # By force: it refuses files below a folder that others may write to, such as /tmp.
        "munged": ("munged", "--foreground", "--force", *(f"--{key}={path}" for key, path in munged.items())),
        **(accounting.commands(cluster) if cluster.accounting else {}),
        "slurmctld": ("slurmctld", "-D", "-f", str(cluster.conf)),
        **{name: _node(cluster, name) for name in cluster.names},
    }


def _node(cluster: Cluster, name: str) -> tuple[str, ...]:
    return (*NAMESPACES, "sh", "-c", _NODE, "sh", name, str(cluster.hosts), str(cluster.conf))


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex((ADDRESS, port)) == 0


def _end(known: dict[str, Daemon]) -> None:
    for name in reversed(known):
        # A node is killed, with everything on it: `unshare` passes nothing else on.
        known[name].end(signal.SIGKILL if name.startswith("node-") else signal.SIGTERM)


def _cancel(cluster: Cluster) -> None:
    deadline = time.monotonic() + _JOBS_S
    while jobs := ask(cluster, "squeue", "--noheader", "--format=%A")[1].split():
        ask(cluster, "scancel", *dict.fromkeys(jobs))
        if time.monotonic() > deadline:
            return
        time.sleep(0.5)


def _takes_jobs(cluster: Cluster) -> bool:
    states = ask(cluster, "sinfo", "--noheader", "--Node", "--format=%T")[1].split()
    return len(states) == cluster.nodes and set(states) <= _TAKES_JOBS


def _wait(cluster: Cluster, known: dict[str, Daemon], condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _UP_S
    while not condition():
        dead = [name for name, daemon in known.items() if not daemon.is_alive]
        if dead or time.monotonic() > deadline:
            _end(known)
            raise RuntimeError(_excuse(cluster, dead[0] if dead else what))
        time.sleep(_POLL_S)


def _excuse(cluster: Cluster, what: str) -> str:
    tails = (
        f"{log}:\n{''.join(log.read_text(encoding='utf-8', errors='replace').splitlines(keepends=True)[-5:])}"
        for log in sorted((cluster.folder / "log").iterdir())
        if log.stat().st_size
    )
    return "\n".join((f"{what} did not come up.", *tails))
