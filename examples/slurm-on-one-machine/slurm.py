"""A Slurm cluster on one machine: a controller, and nodes that are namespaces of this machine.

    sudo python3 slurm.py start --nodes 2 --gpus 8
    eval "$(python3 slurm.py env)"
    sbatch …
    sudo python3 slurm.py stop

It needs root, and Debian's or Ubuntu's packages `slurm-wlm` and `munge`. README.md says the rest.
Exit codes: 0 done, 1 not done, 4 this machine lacks something.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cluster_life
import configuration
import files
import machine
from configuration import Cluster

DEFAULT_FOLDER = Path("/tmp/slurm-on-one-machine")  # the paths of sockets must be short
LONGEST_SOCKET = 107
"""Bytes in the path of a socket; unix(7)."""

CANNOT_BE_HERE = 4
"""Exit code of `start` when the machine lacks something."""


def main() -> int:
    """Does what the command line says."""
    flags = _parser().parse_args()
    folder = flags.folder.absolute()
    try:
        if flags.verb == "start":
            return _start(folder, flags)
        cluster = files.read(folder)
        if cluster is None:
            return _complain(f"There is no cluster in {folder}; `start` makes one.")
        return _look_after(cluster, flags)
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        return _complain(str(error))


def _start(folder: Path, flags: argparse.Namespace) -> int:
    if wrong := tuple(_wrong(folder, flags)):
        return _complain(*wrong)
    if lacks := tuple(machine.lacks(accounting=flags.accounting)):
        return _complain(*lacks, code=CANNOT_BE_HERE)
    # Whatever runs there, or ran there, goes on with the shape that it had.
    cluster = files.read(folder) if cluster_life.running(folder) else None
    controller, slurmdbd, database, *nodes = configuration.free_ports(3 + flags.nodes)
    cluster_life.start(
        cluster
        or Cluster(
            folder=folder,
            nodes=flags.nodes,
            cpus=flags.cpus,
            memory_mib=flags.memory_gib * 1024,
            gpus=flags.gpus,
            gpu_type=flags.gpu_type,
            accounting=flags.accounting,
            controller_port=controller,
            accounting_port=slurmdbd,
            database_port=database,
            node_ports=tuple(nodes),
        )
    )
    print(_environment(folder))
    return 0


def _look_after(cluster: Cluster, flags: argparse.Namespace) -> int:
    if flags.verb == "env":
        print(_environment(cluster.folder))
    elif flags.verb == "status":
        return _status(cluster)
    elif os.geteuid():
        return _complain("It was started by root, and only root can end it: sudo.")
    elif flags.verb == "stop":
        cluster_life.stop(cluster)
    elif flags.node not in cluster.names:
        return _complain(f"There is no node `{flags.node}`: {', '.join(cluster.names)}.")
    else:
        cluster_life.unplug(cluster, flags.node, told=flags.told)
    return 0


def _status(cluster: Cluster) -> int:
    known = cluster_life.running(cluster.folder)
    names = cluster_life.names(cluster)
    for name in names:
        print(f"{name}: {f'process {known[name].pid}' if name in known else 'not running'}")
    if "slurmctld" in known:
        print(cluster_life.ask(cluster, "sinfo", "--Node", "--long")[1].rstrip())
    return 0 if len(known) == len(names) else 1


def _wrong(folder: Path, flags: argparse.Namespace) -> Iterator[str]:
    if len(os.fsencode(folder / "run" / "munge.socket.2")) > LONGEST_SOCKET:
        yield f"{folder} is too long a path for a socket: --folder with a shorter one."
    if any(letter.isspace() or letter in "#%=," for letter in str(folder)):
        yield f"slurm.conf cannot hold the path {folder}: --folder with one without spaces and `#%=,`."
    if min(flags.nodes, flags.cpus, flags.memory_gib) < 1 or flags.gpus < 0 or not flags.gpu_type.isalnum():
        yield "--nodes, --cpus and --memory-gib must be at least 1, --gpus at least 0, --gpu-type letters and digits."


def _environment(folder: Path) -> str:
    cluster = files.read(folder)
    return f"export SLURM_CONF={shlex.quote(str(cluster.conf))}" if cluster else ""


def _complain(*problems: str, code: int = 1) -> int:
    print(*problems, sep="\n", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    helps = {
        "start": "start it, or what of it does not run, and print the environment to use",
        "stop": "cancel all jobs and end all its processes",
        "status": "print what runs; exits 1 unless all does",
        "env": "print the environment to use",
        "unplug": "end a node as if it had lost power; `start` brings it back",
    }
    for verb, text in helps.items():
        each = verbs.add_parser(verb, help=text, description=text)
        each.add_argument("--folder", type=Path, default=DEFAULT_FOLDER, help="where its files are (%(default)s)")
        if verb == "unplug":
            each.add_argument("node", help="e.g. node-2")
            each.add_argument("--told", action="store_true", help="the controller need not find out, which takes 30 s")
        if verb == "start":
            each.add_argument("--nodes", type=int, default=2, help="how many compute nodes (%(default)s)")
            each.add_argument("--cpus", type=int, default=96, help="that each pretends to have (%(default)s)")
            each.add_argument("--memory-gib", type=int, default=1024, help="that each pretends to have (%(default)s)")
            each.add_argument("--gpus", type=int, default=0, help="that each pretends to have (%(default)s)")
            each.add_argument("--accounting", action="store_true", help="keep jobs in a database, which sacct reads")
            each.add_argument("--gpu-type", default="a100", help="their type in Slurm (%(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
