"""The command as a user calls it, and a stand-in for the trainer's interpreter, so that a run takes no training."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMAND = (sys.executable, "-m", "smtrain.cli")

TRAINS = """\
for step in 1 2; do
  echo "working on step $step"
  printf '{"current_steps": %s, "total_steps": 2, "loss": %s.5, "lr": 0.1}\\n' "$step" "$((3 - step))" \
    >>output/trainer_log.jsonl
done
echo done >output/adapter.txt
"""
"""Two steps with the losses 2.5 and 1.5."""

FAILS = "echo something went wrong\nexit 7\n"

SLEEPS = "trap 'echo saving' TERM\necho ready\nsleep 600 &\nwait\n"
"""Until it is asked to end; then it says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on its standard output."""
        (line,) = self.out.splitlines()
        return json.loads(line)


Smtrain = Callable[..., Answer]


def smtrain(*words: str, cwd: Path, env: Mapping[str, str] | None = None) -> Answer:
    """Calls the command in a process of its own."""
    done = subprocess.run(
        (*COMMAND, *words), cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False
    )
    return Answer(code=done.returncode, out=done.stdout, err=done.stderr)


def interpreter(folder: Path, body: str) -> str:
    """Returns the override that has the local backend run this bash source in the place of the trainer.

    The launch script asks its interpreter for packages and a free port first; a real one answers that.
    """
    path = folder / "stand-in" / "python"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'#!/usr/bin/env bash\nif [[ $1 == -S || $1 == -c ]]; then exec {sys.executable} "$@"; fi\n{body}')
    path.chmod(0o755)
    return "backend.python=stand-in/python"
