"""Slurm's database of jobs, on request: slurmdbd in front of a MariaDB of the cluster's own.

Source: https://slurm.schedmd.com/accounting.html, "Slurm Accounting Configuration Before Build" and after.
"""

from __future__ import annotations

import secrets
import socket
import subprocess
from pathlib import Path

import configuration
from configuration import ADDRESS, Cluster

_INSTALL = ("mariadb-install-db", "--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db")


def write(cluster: Cluster) -> None:
    """Makes the database's folder, and what slurmdbd reads."""
    data = _data(cluster)
    if not (data / "mysql").is_dir():
        made = subprocess.run(
            (*_INSTALL, f"--datadir={data}", "--user=root"), capture_output=True, text=True, check=False
        )
        if made.returncode:
            message = f"The database cannot be made in {data}:\n{made.stdout[-1000:]}{made.stderr[-1000:]}"
            raise RuntimeError(message)
    password = secrets.token_hex(16)
    _write_for_us_alone(_first(cluster), _sql(password))
    _write_for_us_alone(_conf(cluster), _slurmdbd_conf(cluster, password))


def commands(cluster: Cluster) -> dict[str, tuple[str, ...]]:
    """Returns name → words of the two processes, in the order in which they start."""
    run = cluster.folder / "run"
    options: dict[str, object] = {"datadir": _data(cluster), "init-file": _first(cluster), "user": "root"}
    options |= {"socket": run / "mariadbd.socket", "pid-file": run / "mariadbd.pid"}
    options |= {"bind-address": ADDRESS, "port": cluster.database_port}
    return {
        "mariadbd": ("mariadbd", "--no-defaults", *(f"--{name}={value}" for name, value in options.items())),
        # It looks for its own file beside the one that this names.
        "slurmdbd": ("env", f"SLURM_CONF={cluster.conf}", "slurmdbd", "-D"),
    }


def slurm_conf(cluster: Cluster) -> str:
    """Returns the lines of slurm.conf that name the database."""
    return f"""\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost={ADDRESS}
AccountingStoragePort={cluster.accounting_port}
AccountingStoragePass={cluster.socket}
"""


def _slurmdbd_conf(cluster: Cluster, password: str) -> str:
    return f"""\
AuthType=auth/munge
AuthInfo=socket={cluster.socket}
DbdHost={socket.gethostname()}
DbdAddr={ADDRESS}
DbdPort={cluster.accounting_port}
{configuration.listening()}
SlurmUser=root
PidFile={cluster.folder}/run/slurmdbd.pid
LogFile={cluster.folder}/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost={ADDRESS}
StoragePort={cluster.database_port}
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm
"""


def _sql(password: str) -> str:
    who = f"slurm@'{ADDRESS}'"
    return f"""\
CREATE DATABASE IF NOT EXISTS slurm;
CREATE OR REPLACE USER {who} IDENTIFIED BY '{password}';
GRANT ALL ON slurm.* TO {who};
"""


def _data(cluster: Cluster) -> Path:
    return cluster.folder / "database"


def _conf(cluster: Cluster) -> Path:
    return cluster.folder / "etc" / "slurmdbd.conf"


def _first(cluster: Cluster) -> Path:
    return cluster.folder / "etc" / "database.sql"


def _write_for_us_alone(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
