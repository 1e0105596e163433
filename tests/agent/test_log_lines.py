from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from smtrain.agent import log_lines
from smtrain.agent.log_lines import Lines


def lines(*pieces: bytes, clock: list[float] | None = None) -> list[str]:
    """Returns the lines of these pieces; with `clock`, as read at these seconds (the first is the beginning)."""
    times = iter(clock or ())
    now = [next(times, 0.0)]
    reader = Lines(lambda: now[0])
    found = []
    for piece in pieces:
        now[0] = next(times, now[0])
        found += reader.feed(piece)
    return [*found, *reader.close()]


def test_lines_are_kept_as_they_are_however_they_are_cut() -> None:
    text = "one\n\n  two é\nthree".encode()
    assert lines(text) == ["one", "", "  two é", "three"]
    assert lines(*(text[index : index + 1] for index in range(len(text)))) == ["one", "", "  two é", "three"]


def test_a_progress_bar_becomes_its_last_state() -> None:
    bar = b"".join(b"\r%3d%%|##| " % percent for percent in range(101)) + b"\nnext\n"
    assert lines(bar) == ["100%|##|", "next"]
    assert lines(*(bar[index : index + 7] for index in range(0, len(bar), 7))) == ["100%|##|", "next"]


def test_a_bar_that_ends_with_a_return_is_kept() -> None:
    assert lines(b"10%\r", b"20%\r", b"30%\r", b"done\r\n") == ["done"]
    assert lines(b"10%\r", b"20%\r") == ["20%"]
    assert lines(b"A\rB\r", b"C\n") == ["C"]


def test_a_bar_wiped_with_blanks_keeps_its_last_state() -> None:
    assert lines(b"\r 50%\r      \r\nnext\n") == [" 50%", "next"]


def test_a_bar_at_work_is_shown_now_and_then() -> None:
    pieces = [b"\r%d%%" % percent for percent in range(5)]
    assert lines(*pieces, b"\n", clock=[0, 0, 10, 31, 40, 50, 62]) == ["1%", "4%"]


def test_windows_line_ends_are_line_ends() -> None:
    assert lines(b"one\r\ntwo\r\n") == ["one", "two"]


def test_control_sequences_are_left_out() -> None:
    assert lines(b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07text\x1b[A\n") == ["red text"]


def test_bytes_that_are_no_text_do_not_stop_it() -> None:
    assert lines(b"a\xff\xfeb\n") == ["a��b"]


def test_a_line_without_end_is_cut() -> None:
    found = lines(*[b"x" * 10_000] * 30)
    assert sum(map(len, found)) == 300_000
    assert max(map(len, found)) < 100_000


@pytest.mark.parametrize("number", ["INT", "TERM", "HUP"])
def test_it_outlives_signals_and_writes_to_the_end(tmp_path: Path, number: str) -> None:
    log = tmp_path / "log"
    logger = subprocess.Popen((sys.executable, "-I", "-S", str(log_lines.__file__), str(log)), stdin=subprocess.PIPE)
    assert logger.stdin is not None
    logger.stdin.write(b"one\n")
    logger.stdin.flush()
    while not log.exists() or not log.read_text():
        pass
    subprocess.run(("kill", f"-{number}", str(logger.pid)), check=True)
    logger.stdin.write(b"two")
    logger.stdin.close()
    assert logger.wait(10) == 0
    assert log.read_text() == "one\ntwo\n"
