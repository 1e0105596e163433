"""The command works whatever its streams are, and an interruption shows no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = "import sys\nfrom smtrain.cli import main\nsys.exit(main())\n"


def shell(line: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    command = line.replace("smtrain", f"{sys.executable} -c '{PROGRAM}'")
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env={**os.environ, **env}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "1>&- 2>&- 0<&-"])
def test_a_closed_stream_changes_no_exit_code(closed: str, tmp_path: Path) -> None:
    assert shell(f"smtrain plan model.path=ORG/NAME {closed}", tmp_path).returncode == 0
    done = shell(f"smtrain plan model.path=ORG/NAME seed=x {closed}", tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_terminal_without_the_characters_gets_escapes(tmp_path: Path) -> None:
    done = shell("smtrain explain seed", tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert r"\u2265 0" in done.stdout


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_behind_stdout_is_told(unbuffered: str, tmp_path: Path) -> None:
    done = shell("smtrain explain seed >/dev/full", tmp_path, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 4
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_left_is_nobodys_fault(unbuffered: str, tmp_path: Path) -> None:
    line = "smtrain explain seed 2>told | true; printf '%s' \"${PIPESTATUS[0]}\""
    done = shell(line, tmp_path, PYTHONUNBUFFERED=unbuffered)
    assert done.stdout == "0"
    assert (tmp_path / "told").read_text() == ""


def test_the_command_line_is_parsed_before_hydra_is_imported(tmp_path: Path) -> None:
    # Its import takes a quarter of a second, in which Ctrl-C would show a traceback.
    check = "import sys, smtrain.cli; sys.exit('hydra' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=tmp_path, check=False).returncode == 0
