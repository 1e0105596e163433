"""Where words go: a pipe gets plain lines, a terminal colour and a bar, and nobody's leaving is an error."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from commands import COMMAND, TRAINS, interpreter, smtrain
from terminal import on_terminal

WORDS = ("data=alpaca", "data.path=rows.jsonl", "compute=cpu")
SLOWLY = TRAINS.replace("\ndone\n", "\n  sleep 0.5\ndone\n")
assert SLOWLY != TRAINS


@pytest.fixture
def env() -> dict[str, str]:
    """An environment in which nothing forces colours on or off."""
    own = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    return {**own, "TERM": "xterm-256color"}


def test_a_pipe_gets_no_escape_codes(here: Path) -> None:
    for words in (("plan",), ("plan", "seed=abc"), ("run", *WORDS, interpreter(here, TRAINS))):
        answer = smtrain(*words, cwd=here)
        assert "\x1b" not in answer.out + answer.err


def test_a_terminal_gets_colours_and_a_bar(here: Path, env: dict[str, str]) -> None:
    with on_terminal((*COMMAND, "run", *WORDS, interpreter(here, SLOWLY)), cwd=here, env=env) as terminal:
        assert terminal.wait() == 0
    assert "\x1b[1mstate" in terminal.raw
    assert "working on step 2\n" in terminal.text
    assert "step 1/2 ━" in terminal.text
    assert "loss 1.5" in terminal.text
    assert "smtrain: step 2/2" not in terminal.text


def test_errors_and_warnings_are_coloured_on_a_terminal(here: Path, env: dict[str, str]) -> None:
    with on_terminal((*COMMAND, "plan", "seed=abc"), cwd=here, env=env) as terminal:
        assert terminal.wait() == 2
    assert "\x1b[31merror\x1b[0m: " in terminal.raw
    assert "seed" in terminal.text


def test_no_color_is_heeded_on_a_terminal(here: Path, env: dict[str, str]) -> None:
    with on_terminal((*COMMAND, "plan"), cwd=here, env={**env, "NO_COLOR": "1"}) as terminal:
        assert terminal.wait() == 0
    assert "\x1b" not in terminal.raw
    assert "warning: " in terminal.raw


def test_json_on_a_terminal_has_no_colours_and_no_bar(here: Path, env: dict[str, str]) -> None:
    words = ("run", *WORDS, interpreter(here, TRAINS), "--json")
    with on_terminal((*COMMAND, *words), cwd=here, env=env) as terminal:
        assert terminal.wait() == 0
    assert terminal.raw.startswith("{")
    assert "\x1b" not in terminal.raw


@pytest.mark.parametrize("verb", ["plan", "plugins", "--help"])
def test_a_reader_that_leaves_is_no_error(verb: str, here: Path) -> None:
    process = subprocess.Popen((*COMMAND, verb), cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"BrokenPipe" not in err
    assert b"Traceback" not in err


def test_a_run_goes_on_when_its_reader_leaves(here: Path) -> None:
    command = (*COMMAND, "run", *WORDS, interpreter(here, SLOWLY))
    with subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        process.wait(60)
    assert process.returncode == 0
    (run_dir,) = here.glob("runs/smtrain-*")
    assert json.loads((run_dir / "receipt.json").read_text())["state"] == "succeeded"
