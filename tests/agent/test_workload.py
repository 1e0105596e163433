"""The command runs as if the agent were not there, and its end is told as it was."""

from __future__ import annotations

import signal
import subprocess
import time

import pytest
from agent_runs import Target, plan, until

from smtrain.agent import failure
from smtrain.agent.workload import LastLines


@pytest.mark.parametrize("code", [0, 1, 2, 7, 137])
def test_the_exit_code_is_the_commands_own(one: Target, code: int) -> None:
    ended = one.run(plan(), f"exit {code}")
    assert ended.code == code
    assert (ended.failure == "") == (code == 0)


def test_a_command_that_a_signal_ends_gives_128_and_its_number(one: Target) -> None:
    assert one.run(plan(), "kill -KILL $$").code == 137
    assert one.run(plan(), "kill -SEGV $$").code == 139


def test_output_passes_through_at_once_and_unchanged(one: Target) -> None:
    process = one.start(plan(), "printf 'no line end'; printf 'bar 1\\rbar 2' >&2; sleep 60")
    until(lambda: "no line end" in one.log() and "bar 1\rbar 2" in one.log(), 10)
    process.terminate()
    assert one.wait(timeout_s=10).code == 143


def test_arguments_reach_the_command_as_they_are(one: Target) -> None:
    one.run(plan(), "true")
    words = ("printf", "<%s>", "a b", "$(x)", "", "new\nline", "'")
    command = (one.python, str(one.node() / "agent"), str(one.node() / "agent.json"), "--", *words)
    done = subprocess.run(command, env=one.variables(0), capture_output=True, text=True, check=True)
    assert done.stdout == "<a b><$(x)><><new\nline><'>"


TRACEBACK = """
echo 'smtrain: step train' >&2
echo 'lots of log'
cat >&2 <<'END'
[rank0]: Traceback (most recent call last):
[rank0]:   File "train.py", line 3, in <module>
[rank0]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB
Traceback (most recent call last):
  File "run.py", line 10, in main
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
train.py FAILED
END
echo 'smtrain: step train failed with exit code 1' >&2
exit 1
"""


def test_the_failure_file_begins_with_step_code_and_the_workers_exception(one: Target) -> None:
    ended = one.run(plan(), TRACEBACK)
    first = ended.failure.splitlines()[0]
    expected = (
        "step train failed with exit code 1: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
    )
    assert first == expected
    assert "train.py FAILED" in ended.failure


def test_the_failure_file_is_as_long_as_the_platform_keeps(one: Target) -> None:
    script = (
        "for i in $(seq 300); do echo \"line $i $(printf 'x%.0s' $(seq 60))\"; done; echo 'ValueError: the end'; exit 3"
    )
    ended = one.run(plan(), script)
    assert len(ended.failure) <= 1024
    assert ended.failure.startswith("the workload failed with exit code 3: ValueError: the end\n")
    assert "line 300" in ended.failure
    assert "line 200 " not in ended.failure


def test_a_progress_bar_takes_no_room_in_the_last_lines() -> None:
    kept = LastLines()
    kept.feed(1, b"before\n")
    for step in range(100_000):
        kept.feed(2, f"\r{step}%|###".encode())
    kept.feed(2, b"\nValueError: after the bar\n")
    assert kept.lines() == ("before", "99999%|###", "ValueError: after the bar")


def test_lines_of_two_streams_are_not_mixed() -> None:
    kept = LastLines()
    kept.feed(1, b"one ")
    kept.feed(2, b"error ")
    kept.feed(1, b"line\n")
    kept.feed(2, b"line\n")
    assert kept.lines() == ("one line", "error line")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("ValueError: a", "torch.distributed.DistNetworkError: connection reset by peer"), "ValueError: a"),
        (("[rank1]: KeyError: 'text'", "subprocess.CalledProcessError: Command died"), "KeyError: 'text'"),
        (("[default0]:RuntimeError: x",), "RuntimeError: x"),
        (("nothing of the kind", "Error in my mind"), ""),
        (("RuntimeError: Connection closed by peer",), "RuntimeError: Connection closed by peer"),
        (("AssertionError",), "AssertionError"),
        (("error: no rows in train.jsonl", "a.b.ChildFailedError:"), "no rows in train.jsonl"),
        (("error: no rows", "[rank1]: RuntimeError: Connection closed by peer"), "no rows"),
        (("error: of a tool, passed over", "ValueError: a"), "ValueError: a"),
        (
            (
                "[rank0]: RuntimeError: Connection closed by peer",
                "torch.distributed.elastic.multiprocessing.errors.ChildFailedError:",
                "  traceback : Signal 15 (SIGTERM) received by PID 68",
                "Root Cause (first observed failure):",
                "  exitcode  : -9 (pid: 67)",
                "  traceback : Signal 9 (SIGKILL) received by PID 67",
            ),
            "Signal 9 (SIGKILL) received by PID 67",
        ),
    ],
)
def test_the_exception_that_is_told_is_a_cause_where_there_is_one(lines: tuple[str, ...], expected: str) -> None:
    assert failure.exception_line(lines) == expected


def test_a_signal_goes_on_to_the_command_which_may_save(one: Target) -> None:
    script = """trap 'echo saving; sleep 0.5; echo saved; exit 143' TERM; echo up; while true; do sleep 0.1; done"""
    process = one.start(plan(), script)
    until(lambda: "up" in one.log())
    process.send_signal(signal.SIGTERM)
    ended = one.wait()
    assert ended.code == 143
    assert "saved" in ended.log
    assert "stopped by SIGTERM" in ended.failure


@pytest.mark.slow
def test_what_ignores_the_signal_is_killed_when_its_grace_is_over(one: Target) -> None:
    script = """set -m; trap '' TERM; (trap '' TERM; echo up; exec -a unkillable-step sleep 300) & wait; sleep 300"""
    process = one.start(plan(), script, SMTRAIN_GRACE_S="1")
    until(lambda: "up" in one.log())
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert one.wait(timeout_s=30).code == 137
    assert 1 < time.monotonic() - began < 15
    left = subprocess.run(("pgrep", "-f", "unkillable-step"), capture_output=True, text=True, check=False).stdout
    assert left == ""


def test_a_background_process_that_holds_the_output_open_does_not_hold_the_agent(one: Target) -> None:
    process = one.start(plan(), "setsid sleep 20 & echo $! >pid; exit 4")
    assert process.wait(10) == 4
    subprocess.run(("kill", (one.node() / "pid").read_text().strip()), check=False)


def test_a_command_that_is_not_there_is_told(one: Target) -> None:
    one.run(plan(), "true")
    command = (one.python, str(one.node() / "agent"), str(one.node() / "agent.json"), "--", "no-such-command")
    assert subprocess.run(command, env=one.variables(0), check=False).returncode == 78
    assert "no-such-command does not start" in (one.node() / "failure").read_text()


@pytest.mark.parametrize("missing", ["SMTRAIN_OUTPUT_DIR", "SMTRAIN_SCRATCH_DIR", "SMTRAIN_RUN_DIR"])
def test_a_variable_that_is_missing_is_told(one: Target, missing: str) -> None:
    ended = one.run(plan(), "true", **{missing: ""})
    assert ended.code == 78
    assert ended.failure == f"the variable {missing} is not set"


def test_a_plan_of_another_format_is_refused(one: Target) -> None:
    ended = one.run({**plan(), "format": 2}, "true")
    assert ended.code == 78
    assert "has format 2, and this agent reads format 1" in ended.failure


def test_a_broken_plan_is_refused(one: Target) -> None:
    ended = one.run({**plan(), "outputs": [{"name": "model"}]}, "true")
    assert ended.code == 78
    assert "is no plan: KeyError" in ended.failure


def test_a_crash_of_the_agent_is_told_with_a_code_of_its_own(one: Target) -> None:
    one.node().mkdir(parents=True)
    (one.node() / "scratch").write_text("a file where a folder is to be made")
    ended = one.run(plan(inputs=[{"name": "d", "variable": "V", "uri": str(one.root), "file": None}]), "true")
    assert ended.code == 70
    assert ended.failure.startswith("the agent broke: ")
    assert "Traceback" in ended.log
