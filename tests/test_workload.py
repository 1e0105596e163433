from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from launching import environment

from smtrain import process_tree, receipts, runs, workload
from smtrain.errors import ExitCode, SmtrainError
from smtrain.spec import Exec, LogLine, Progress, Receipt, State

PROGRESS = Progress(
    path="out/log.jsonl", step="current_steps", total="total_steps", metrics={"loss": "loss", "eval_loss": "eval_loss"}
)


class Watching:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.seen: list[tuple[int, int, dict[str, float]]] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    def progress(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        self.seen.append((step, total, dict(metrics)))


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "probe run-1"
    (folder / "bundle").mkdir(parents=True)
    (folder / "work" / "out").mkdir(parents=True)
    yield folder
    process_tree.end(folder, grace_s=0)


def receipt(run_dir: Path) -> Receipt:
    return Receipt(run_id=run_dir.name, backend="local", state=State.RUNNING, started=time.time())


def launch(run_dir: Path, source: str, watching: Watching | None = None, **options: object) -> Receipt:
    """Launches Python source as the workload."""
    return workload.launch(
        run_dir,
        Exec(argv=(sys.executable, "-u", "-c", source), workload=True),
        receipt=receipt(run_dir),
        env=environment(run_dir.parent),
        observer=watching or Watching(),
        **options,  # type: ignore[arg-type]  # a test's own options
    )


def start(run_dir: Path, source: str, *, detach: bool = False) -> subprocess.Popen[str]:
    """Launches Python source as the workload from a process of its own, as `smtrain` would be."""
    script = f"""\
import os, pathlib, sys, time
from smtrain import workload
from smtrain.console_view import view
from smtrain.spec import Exec, Receipt, State
run_dir = pathlib.Path({str(run_dir)!r})
receipt = Receipt(run_id=run_dir.name, backend="local", state=State.RUNNING, started=time.time())
with view() as observer:
    final = workload.launch(run_dir, Exec(argv=(sys.executable, "-u", "-c", {source!r}), workload=True),
                            receipt=receipt, env=dict(os.environ), observer=observer, detach={detach})
print(final.state.value)
"""
    return subprocess.Popen(
        (sys.executable, "-c", script),
        env=environment(run_dir.parent),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(condition: object, timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]  # a lambda
        assert time.monotonic() < deadline
        time.sleep(0.02)


READY = "import pathlib; pathlib.Path('ready').touch()\n"
SLEEPS = READY + "import time; time.sleep(60)"


# ------------------------------------------------------------------------------------------------- output and exit code


def test_output_is_shown_line_by_line_and_kept(run_dir: Path) -> None:
    watching = Watching()
    final = launch(
        run_dir, "import sys; print('one'); print('two é', file=sys.stderr); print('three', end='')", watching
    )
    assert watching.lines == ["one", "two é", "three"]
    assert (run_dir / "logs" / "workload.log").read_text() == "one\ntwo é\nthree\n"
    assert (final.state, final.exit_code) == (State.SUCCEEDED, 0)
    assert receipts.read(run_dir) == final


def test_it_runs_in_the_bundles_folder_with_nothing_on_standard_input(run_dir: Path) -> None:
    watching = Watching()
    launch(run_dir, "import os, sys; print(os.getcwd()); print(repr(sys.stdin.read()))", watching)
    assert watching.lines == [str(run_dir / "bundle"), "''"]


def test_it_is_out_of_reach_of_the_terminals_signals(run_dir: Path) -> None:
    watching = Watching()
    launch(run_dir, "import os; print(os.getsid(0) == os.getpid())", watching)
    assert watching.lines == ["True"]


def test_lines_are_shown_while_it_runs(run_dir: Path) -> None:
    class Answering(Watching):
        def line(self, text: str) -> None:
            super().line(text)
            (run_dir / "bundle" / "answer").touch()

    watching = Answering()
    source = "import pathlib, time\nprint('question')\nwhile not pathlib.Path('answer').exists(): time.sleep(0.02)"
    assert launch(run_dir, source, watching).state is State.SUCCEEDED


def test_the_exit_code_is_kept(run_dir: Path) -> None:
    final = launch(run_dir, "raise SystemExit(7)")
    assert (final.state, final.exit_code) == (State.FAILED, 7)


def test_the_failed_step_is_named(run_dir: Path) -> None:
    final = launch(run_dir, "import pathlib; pathlib.Path('../step').write_text('merge\\n'); raise SystemExit(3)")
    assert final.step == "merge"


def test_death_by_a_signal_is_128_and_its_number(run_dir: Path) -> None:
    final = launch(run_dir, "import os; os.kill(os.getpid(), 9)")
    assert (final.state, final.exit_code) == (State.FAILED, 137)


def test_a_program_that_is_not_there_is_told(run_dir: Path) -> None:
    with pytest.raises(SmtrainError) as caught:
        workload.launch(run_dir, Exec(argv=("no-such-program",)), receipt=receipt(run_dir), env={}, observer=Watching())
    assert caught.value.exit_code is ExitCode.MISSING_HERE
    assert not runs.is_running(run_dir)


def test_an_earlier_trys_log_is_kept(run_dir: Path) -> None:
    for word in ("first", "second", "third"):
        launch(run_dir, f"print({word!r})")
    assert [path.read_text() for path in sorted((run_dir / "logs").iterdir())] == ["first\n", "second\n", "third\n"]
    assert (run_dir / "logs" / "workload.log").read_text() == "third\n"


def children() -> set[str]:
    """Returns the processes that this one started and has not waited for; a server of other tests may be among them."""
    return {pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


def test_no_child_is_left_behind(run_dir: Path) -> None:
    before = children()
    leftover = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']"
    begin = time.monotonic()
    assert launch(run_dir, leftover + ", start_new_session=True, close_fds=True)").state is State.SUCCEEDED
    assert process_tree.members(run_dir) == ()
    assert time.monotonic() - begin < 10
    assert children() == before


def test_it_can_be_launched_from_another_thread(run_dir: Path) -> None:
    found: list[Receipt] = []
    thread = threading.Thread(target=lambda: found.append(launch(run_dir, "print(1)")))
    thread.start()
    thread.join(20)
    assert found[0].state is State.SUCCEEDED


def test_a_closed_standard_output_does_not_end_the_run(run_dir: Path) -> None:
    child = start(run_dir, "import time\nfor n in range(200): print(n, flush=True)\ntime.sleep(0.5); print('end')")
    assert child.stdout is not None
    assert child.stdout.readline() == "0\n"
    child.stdout.close()
    assert child.wait(20) == 0
    assert runs.tail(run_dir, 1) == ("end",)
    assert child.stderr is not None
    assert child.stderr.read() == ""
    last = receipts.read(run_dir)
    assert last is not None
    assert last.state is State.SUCCEEDED


# ------------------------------------------------------------------------------------------------------------ progress


def test_progress_is_shown_and_the_metrics_and_the_picture_are_kept(run_dir: Path) -> None:
    rows = [{"current_steps": n, "total_steps": 3, "loss": 1 / n, "lr": 0.1} for n in (1, 2, 3)]
    rows.append({"current_steps": 3, "total_steps": 3, "eval_loss": 0.5})
    text = "".join(json.dumps(row) + "\n" for row in rows)
    watching = Watching()
    source = f"import pathlib; pathlib.Path('../work/out/log.jsonl').write_text({text!r})"
    launch(run_dir, source, watching, progress=PROGRESS)
    assert watching.seen[0] == (1, 3, {"loss": 1.0})
    assert watching.seen[-1] == (3, 3, {"eval_loss": 0.5})
    metrics = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert metrics == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}, {"step": 3, "loss": 1 / 3, "eval_loss": 0.5}]
    assert runs.final_metric(run_dir, "eval_loss") == 0.5
    pytest.importorskip("matplotlib")
    assert (run_dir / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_what_an_earlier_try_recorded_is_kept_but_not_shown_again(run_dir: Path) -> None:
    log = run_dir / "work" / "out" / "log.jsonl"
    log.write_text('{"current_steps": 1, "total_steps": 2, "loss": 2.0}\n')
    watching = Watching()
    line = '{"current_steps": 2, "total_steps": 2, "loss": 1.0}\n'
    launch(run_dir, f"open({str(log)!r}, 'a').write({line!r})", watching, progress=PROGRESS)
    assert [step for step, _, _ in watching.seen] == [2]
    assert len((run_dir / "metrics.jsonl").read_text().splitlines()) == 2


# ------------------------------------------------------------------------------------------------------------- signals

SAVES = """\
import pathlib, signal, sys, time
def save(number, _):
    time.sleep(0.3)
    pathlib.Path("saved").touch()
    sys.exit(128 + number)
signal.signal(signal.SIGTERM, save)
signal.signal(signal.SIGINT, save)
signal.signal(signal.SIGHUP, save)
pathlib.Path("ready").touch()
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_passed_on_and_waited_for(run_dir: Path, number: signal.Signals) -> None:
    child = start(run_dir, SAVES)
    until((run_dir / "bundle" / "ready").exists)
    child.send_signal(number)
    out, err = child.communicate(timeout=20)
    assert (run_dir / "bundle" / "saved").exists()
    assert out.splitlines()[-1] == "stopped"
    assert "asked the run to end" in out
    assert err == ""
    last = receipts.read(run_dir)
    assert last is not None
    assert (last.state, last.exit_code) == (State.STOPPED, 128 + number)


def test_a_second_signal_kills(run_dir: Path) -> None:
    child = start(run_dir, SAVES.replace("time.sleep(0.3)", "pathlib.Path('asked').touch(); time.sleep(60)"))
    until((run_dir / "bundle" / "ready").exists)
    child.send_signal(signal.SIGINT)
    until((run_dir / "bundle" / "asked").exists)
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=20)
    last = receipts.read(run_dir)
    assert last is not None
    assert (last.state, last.exit_code) == (State.STOPPED, 137)


# -------------------------------------------------------------------------------------------- going twice, going alone


def test_a_run_that_is_going_is_not_started_twice(run_dir: Path) -> None:
    child = start(run_dir, SLEEPS)
    until((run_dir / "bundle" / "ready").exists)
    with pytest.raises(SmtrainError) as caught:
        launch(run_dir, "print(1)")
    assert "`probe run-1` is going already" in str(caught.value)
    assert f"smtrain logs {shlex.quote(str(run_dir))} -f" in str(caught.value)
    assert "attempt=2" in str(caught.value)
    child.terminate()
    child.communicate(timeout=20)


def test_of_two_started_at_once_one_is_refused(run_dir: Path) -> None:
    children = [start(run_dir, SLEEPS) for _ in range(2)]
    until(lambda: any(child.poll() is not None for child in children))
    until((run_dir / "bundle" / "ready").exists)
    refused = [child for child in children if child.poll() is not None]
    assert len(refused) == 1
    assert "is going already" in refused[0].communicate()[1]
    for child in children:
        if child.poll() is None:
            child.terminate()
            child.communicate(timeout=20)


def test_the_run_goes_on_when_smtrain_is_killed(run_dir: Path) -> None:
    source = READY + "import time\nwhile not pathlib.Path('go').exists(): time.sleep(0.02)\nprint('end')\n"
    source += "pathlib.Path('../exit_code').write_text('0\\n')"
    child = start(run_dir, source)
    until((run_dir / "bundle" / "ready").exists)
    child.kill()
    child.communicate()
    was = receipts.read(run_dir)
    assert was is not None
    assert runs.current(run_dir, was).state is State.RUNNING
    leader = json.loads((run_dir / "workload.json").read_text())["pid"]
    assert str(run_dir / "lock") in {str(file.readlink()) for file in Path(f"/proc/{leader}/fd").iterdir()}
    (run_dir / "bundle" / "go").touch()
    until(lambda: not runs.is_running(run_dir))
    assert runs.tail(run_dir, 1) == ("end",)
    assert runs.current(run_dir, was).state is State.SUCCEEDED
    assert receipts.read(run_dir) == runs.current(run_dir, was)


def test_the_metrics_of_a_run_that_nobody_watched_to_its_end_are_kept(run_dir: Path) -> None:
    row = '{"current_steps": 1, "total_steps": 1, "loss": 2.0}'
    source = f"import pathlib; pathlib.Path('../work/out/log.jsonl').write_text({row!r} + chr(10))"
    launch(run_dir, source, progress=PROGRESS)
    was = receipts.read(run_dir)
    assert was is not None
    (run_dir / "metrics.jsonl").unlink()
    runs.current(run_dir, replace(was, state=State.RUNNING))  # what was written down before it ended
    assert not (run_dir / "metrics.jsonl").exists()  # the end was written down by somebody
    receipts.write(run_dir, replace(was, state=State.RUNNING))
    runs.current(run_dir, replace(was, state=State.RUNNING))
    assert runs.final_metric(run_dir, "loss") == 2.0


def test_a_run_that_is_gone_without_a_word_is_lost_and_can_be_run_again(run_dir: Path) -> None:
    (run_dir / "exit_code").write_text("0\n")  # an earlier try's
    child = start(run_dir, "pathlib = __import__('pathlib'); pathlib.Path('../step').write_text('train')\n" + SLEEPS)
    until((run_dir / "bundle" / "ready").exists)
    child.kill()
    child.communicate()
    assert runs.is_running(run_dir)
    process_tree.end(run_dir, grace_s=0)
    was = receipts.read(run_dir)
    assert was is not None
    now = runs.current(run_dir, was)
    assert (now.state, now.step, now.exit_code) == (State.LOST, "train", None)
    assert launch(run_dir, "print(1)").state is State.SUCCEEDED


def test_workers_that_outlive_everything_else_count_as_the_run(run_dir: Path) -> None:
    worker = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], "
    child = start(run_dir, worker + "start_new_session=True, close_fds=True)\n" + SLEEPS)
    until((run_dir / "bundle" / "ready").exists)
    child.kill()
    child.communicate()
    leader = json.loads((run_dir / "workload.json").read_text())["pid"]
    os.kill(leader, signal.SIGKILL)
    until(lambda: process_tree.process(leader) is None)
    assert runs.is_running(run_dir)
    was = receipts.read(run_dir)
    assert was is not None
    assert runs.stop(run_dir, was).state is State.LOST
    assert not runs.is_running(run_dir)


# ------------------------------------------------------------------------------------------------------------ detached


def test_a_detached_run_goes_on_alone_and_ends_with_a_receipt(run_dir: Path) -> None:
    source = "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.02)\nprint('end')"
    child = start(run_dir, source, detach=True)
    out, err = child.communicate(timeout=20)
    assert (child.returncode, out, err) == (0, "running\n", "")
    was = receipts.read(run_dir)
    assert was is not None
    assert runs.current(run_dir, was).state is State.RUNNING
    (run_dir / "bundle" / "go").touch()
    assert list(runs.log_lines(run_dir, follow=True)) == [LogLine(text="end")]
    until(lambda: not runs.is_running(run_dir))
    assert runs.current(run_dir, was).state is State.SUCCEEDED


def test_a_detached_run_can_be_stopped(run_dir: Path) -> None:
    start(run_dir, SAVES, detach=True).communicate(timeout=20)
    until((run_dir / "bundle" / "ready").exists)
    was = receipts.read(run_dir)
    assert was is not None
    final = runs.stop(run_dir, was)
    assert (final.state, final.exit_code) == (State.STOPPED, 143)
    assert (run_dir / "bundle" / "saved").exists()


def test_a_detached_run_that_cannot_start_is_told(run_dir: Path) -> None:
    with pytest.raises(SmtrainError, match="There is no program `no-such-program`"):
        workload.launch(
            run_dir,
            Exec(argv=("no-such-program",)),
            receipt=receipt(run_dir),
            env={},
            observer=Watching(),
            detach=True,
        )
