from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import smtrain
from smtrain.console_view import PlainLines, Remaining, view

SHOW = """\
from smtrain.console_view import view
with view() as observer:
    observer.line("[bold]plain[/bold] 'text' 1234 :smile:")
    observer.progress(5, 10, {"loss": 1.5, "lr": 0.1})
    observer.line("x" * 200)
    observer.progress(10, 10, {"eval_loss": 0.25})
"""


def run(source: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    env = {**os.environ, "PYTHONPATH": str(Path(smtrain.__file__).parents[1]), "TERM": "xterm", "COLUMNS": "80"}
    return subprocess.run((sys.executable, "-c", source), env=env, check=True, **options)  # type: ignore[call-overload,no-any-return]


def test_a_pipe_gets_plain_lines() -> None:
    done = run(SHOW, stdout=subprocess.PIPE)
    assert done.stdout.decode().splitlines() == [
        "[bold]plain[/bold] 'text' 1234 :smile:",
        "smtrain: step 5/10  loss 1.5  lr 0.1  ",
        "x" * 200,
        "smtrain: step 10/10  eval_loss 0.25  ",
    ]


def test_a_terminal_gets_the_lines_and_a_bar_below() -> None:
    leader, follower = pty.openpty()
    run(SHOW, stdout=follower)
    os.close(follower)
    shown = b""
    try:
        while piece := os.read(leader, 1 << 16):
            shown += piece
    except OSError:  # Linux says so when the other side is closed.
        pass
    text = shown.decode()
    assert "[bold]plain[/bold] 'text' 1234 :smile:" in text
    assert "x" * 200 in text
    assert "10/10" in text
    assert "━" in text
    assert "loss 1.5" in text
    assert "eval_loss 0.25" in text


def test_a_pipe_does_not_load_rich() -> None:
    run(SHOW + "import sys; assert not any(name.startswith('rich') for name in sys.modules)", stdout=subprocess.PIPE)


def test_quiet_shows_nothing() -> None:
    out = io.StringIO()
    with view(quiet=True, out=out) as observer:
        observer.line("x")
        observer.progress(1, 2, {})
    assert out.getvalue() == ""


def test_progress_in_a_pipe_comes_now_and_then_and_at_the_end() -> None:
    now = [0.0]
    out = io.StringIO()
    lines = PlainLines(out, clock=lambda: now[0])
    for step in range(1, 31):
        now[0] = float(step)
        lines.progress(step, 30, {})
    steps = [int(line.split()[2].split("/")[0]) for line in out.getvalue().splitlines()]
    assert steps == [1, 11, 21, 30]


def test_the_time_left_follows_from_the_steps_done_since_it_went_on() -> None:
    now = [100.0]
    remaining = Remaining(lambda: now[0])
    assert remaining.after(50, 100) == ""
    now[0] = 120.0
    # 10 steps in 20 s, 40 to go: 80 s.
    assert remaining.after(60, 100) == "0:01:20 left"
    assert remaining.after(100, 100) == ""
