"""Where nodes have the output folder in common, one process writes for all of them; otherwise one of each node does."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.train, pytest.mark.slow]

PROGRAM = """
import sys
from pathlib import Path
from smtrain_native.runtime.processes import joined
with joined("cpu") as processes:
    print(processes.with_output(Path(sys.argv[1])).is_writer)
"""


def writers(*folders: Path) -> list[bool]:
    """Returns which of several nodes, of one process each, write."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(len(folders)), "LOCAL_RANK": "0"}
    started = [
        subprocess.Popen(
            (sys.executable, "-c", PROGRAM, str(folder)),
            env={**os.environ, **meeting, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank, folder in enumerate(folders)
    ]
    return [each.communicate(timeout=120)[0].strip() == "True" for each in started]


def test_the_first_process_writes_for_nodes_that_share_the_folder(tmp_path: Path) -> None:
    assert writers(tmp_path, tmp_path) == [True, False]
    assert list(tmp_path.iterdir()) == []


def test_each_node_writes_into_a_folder_of_its_own(tmp_path: Path) -> None:
    assert writers(tmp_path / "a", tmp_path / "b") == [True, True]
