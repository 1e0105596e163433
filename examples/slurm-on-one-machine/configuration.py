"""What a Slurm that fits on one machine reads: slurm.conf, gres.conf, and the nodes' hosts files."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

ADDRESS = "127.0.0.1"
"""Of everything: Linux connects from it to any address of loopback, and Slurm calls back to where a call came from."""

_KNOWS_DISABLED = (23, 11)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster to pretend.

    Attributes:
      folder: where all its files are.
      nodes: how many compute nodes.
      cpus: that each claims to have, whatever the machine has.
      memory_mib: the same for memory.
      gpus: the same for GPUs; jobs that ask for them get CUDA_VISIBLE_DEVICES, and no GPU.
      gpu_type: their type, as in `--gres=gpu:a100:8`.
      accounting: whether jobs are kept in a database, which sacct reads.
      controller_port: where slurmctld listens.
      accounting_port: where slurmdbd listens.
      database_port: where the database listens.
      node_ports: where each slurmd listens.
    """

    folder: Path
    nodes: int
    cpus: int
    memory_mib: int
    gpus: int
    gpu_type: str
    accounting: bool
    controller_port: int
    accounting_port: int
    database_port: int
    node_ports: tuple[int, ...]

    @property
    def conf(self) -> Path:
        """The file that SLURM_CONF names."""
        return self.folder / "etc" / "slurm.conf"

    @property
    def socket(self) -> Path:
        """Where munged listens."""
        return self.folder / "run" / "munge.socket"

    @property
    def key(self) -> Path:
        """The key that munged signs with."""
        return self.folder / "etc" / "munge.key"

    @property
    def hosts(self) -> Path:
        """The hosts file of every node."""
        return self.folder / "etc" / "hosts"

    @property
    def names(self) -> tuple[str, ...]:
        """The nodes' names."""
        return tuple(f"node-{number}" for number in range(1, self.nodes + 1))


def free_ports(count: int) -> tuple[int, ...]:
    """Returns ports of loopback that nobody uses now."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((ADDRESS, 0))
        return tuple(each.getsockname()[1] for each in sockets)


def device(cluster: Cluster, number: int) -> Path:
    """Returns the device file that stands for a GPU."""
    return cluster.folder / "devices" / f"gpu{number}"


def slurm_conf(cluster: Cluster, accounting: str) -> str:
    """Returns slurm.conf: https://slurm.schedmd.com/slurm.conf.html.

    Args:
      cluster: the cluster.
      accounting: the lines of it that name a database.
    """
    folder = cluster.folder
    gres = f" Gres=gpu:{cluster.gpu_type}:{cluster.gpus}" if cluster.gpus else ""
    shape = f"CPUs={cluster.cpus} RealMemory={cluster.memory_mib}{gres} State=UNKNOWN"
    nodes = "\n".join(
        f"NodeName={name} NodeHostname={name} NodeAddr={ADDRESS} Port={port} {shape}"
        for name, port in zip(cluster.names, cluster.node_ports, strict=True)
    )
    return f"""\
ClusterName=one-machine
SlurmctldHost={socket.gethostname()}({ADDRESS})
SlurmctldPort={cluster.controller_port}
SlurmUser=root
SlurmdUser=root
# A credential is good for 5 s instead of 120: Slurm waits for its end before it starts a requeued job again.
AuthInfo=socket={cluster.socket},cred_expire=5
{listening()}

StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log

# No cgroups, which a container may not make.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none

# Nodes have what is said here, not what the machine has.
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
{"GresTypes=gpu" if cluster.gpus else ""}

# Whatever can start does so within a second or so, instead of half a minute.
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1

# A node that does not answer is down after 10 s instead of 300, and is back once it answers again.
SlurmdTimeout=10
ReturnToService=2
# `scontrol show job` knows a job for an hour after its end, instead of 5 minutes.
MinJobAge=3600
MailProg=/bin/true

# What `sacct --completion` reads; without a database, that is all the accounting there is.
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/log/jobs.txt
{accounting}
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=UNLIMITED State=UP
"""


def gres_conf(cluster: Cluster) -> str:
    """Returns gres.conf: https://slurm.schedmd.com/gres.conf.html."""
    if not cluster.gpus:
        return ""
    return "".join(
        f"Name=gpu Type={cluster.gpu_type} File={device(cluster, number)}\n" for number in range(cluster.gpus)
    )


def cgroup_conf(version: tuple[int, ...]) -> str:
    """Returns cgroup.conf: https://slurm.schedmd.com/cgroup.conf.html.

    No plugin of ours uses cgroups, and slurmd gets itself ready for them all the same: by default it asks systemd for a
    place in cgroup v2, and gives up where there is no systemd. Newer versions can be told not to; older ones (22.05.8
    was tried) leave v1 alone until something uses it, and do not mind that it is not mounted.

    Args:
      version: of Slurm, e.g. (22, 5, 8).
    """
    return f"CgroupPlugin={'disabled' if version >= _KNOWS_DISABLED else 'cgroup/v1'}\n"


def hosts(cluster: Cluster, machine: str) -> str:
    """Returns the hosts file of every node.

    Args:
      cluster: the cluster.
      machine: the machine's own hosts file.
    """
    return f"{machine.rstrip()}\n{ADDRESS} {' '.join(cluster.names)}\n"


def listening() -> str:
    """Returns the line that has Slurm's programs listen on loopback, rather than on every network of the machine.

    They then listen on the address that the host name has, whatever is said elsewhere. Unless that is the address from
    which they are called, as in many a container it is not, nobody would reach them: there, they listen on all.
    """
    try:
        known_here = socket.gethostbyname(socket.gethostname()) == ADDRESS
    except OSError:
        known_here = False
    return "CommunicationParameters=NoCtldInAddrAny,NoInAddrAny" if known_here else ""
