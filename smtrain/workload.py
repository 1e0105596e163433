"""Running a bundle's workload on this machine: started, shown, logged, signalled, waited for."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from smtrain import loss_curve, process_tree, receipts, runs
from smtrain.agent import log_lines
from smtrain.errors import ExitCode, fail
from smtrain.process_tree import Process
from smtrain.progress import Observer
from smtrain.spec import Exec, Progress, Receipt
from smtrain.watching import Careful, View

_POLL_S = 0.1
_LOGGER_TIMEOUT_S = 5.0
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a workload ended.

    Attributes:
      exit_code: its exit code, 128 + n when signal n ended it.
      interrupted: whether this process was asked to end meanwhile, and passed that on.
    """

    exit_code: int
    interrupted: bool


def launch(
    run_dir: Path,
    action: Exec,
    *,
    receipt: Receipt,
    env: Mapping[str, str],
    observer: Observer,
    progress: Progress | None = None,
    detach: bool = False,
) -> Receipt:
    """Runs a workload to its end and returns the run's receipt, which is written, as are its metrics and loss picture.

    Args:
      run_dir: the run's folder, with the bundle in it.
      action: the command.
      receipt: the receipt of a run that has started.
      env: the workload's environment.
      observer: is shown the workload's lines and progress.
      progress: where the program reports its progress.
      detach: leave the run to a process of its own, and return once it goes.

    Raises:
      SmtrainError: the run is going already, or its program is not on this machine.
    """
    run_dir = run_dir.resolve()
    if detach:
        from smtrain import detached

        return detached.launch(run_dir, action, receipt=receipt, env=env, progress=progress)
    return supervise(run_dir, action, receipt=receipt, env=env, observer=observer, progress=progress)


def supervise(
    run_dir: Path,
    action: Exec,
    *,
    receipt: Receipt,
    env: Mapping[str, str],
    observer: Observer,
    progress: Progress | None,
    started: Callable[[], None] = lambda: None,
) -> Receipt:
    """Does what `launch` says, in this process; `started` is called once the workload goes."""
    careful = Careful(observer)
    with runs.holding(run_dir) as lock:
        runs.begin(run_dir)

        def going() -> None:
            receipts.write(run_dir, receipt)
            started()

        ended = run(
            run_dir, action.argv, env=env, observer=careful, progress=progress, inherited=(lock,), started=going
        )
        final = runs.ended(run_dir, receipt, ended.exit_code, stopped=ended.interrupted)
        receipts.write(run_dir, final)
        if progress is not None:
            reason = loss_curve.draw(run_dir / runs.METRICS, run_dir / "loss.png", title=run_dir.name)
            if reason:
                careful.line(f"smtrain: no loss picture: {reason}")
    return final


def run(
    run_dir: Path,
    argv: tuple[str, ...],
    *,
    env: Mapping[str, str],
    observer: Observer,
    progress: Progress | None = None,
    inherited: tuple[int, ...] = (),
    started: Callable[[], None] = lambda: None,
) -> Ended:
    """Runs a command in the bundle's folder, in a session of its own, until it and all that it started have ended.

    SIGINT, SIGTERM and SIGHUP are passed on to the command, which decides how long it needs; a second one kills. The
    output goes to the run's log, readable, through a process of its own: it is kept even when this one is killed.

    Args:
      run_dir: the run's folder, resolved.
      argv: the command.
      env: its environment.
      observer: is shown its lines and progress.
      progress: where the program reports its progress.
      inherited: open file descriptors that the command keeps.
      started: called once the command goes.

    Raises:
      SmtrainError: there is no such command.
    """
    with _logger(_fresh_log(run_dir)) as logger, _Signals(run_dir) as signals:
        child = _start(run_dir, argv, env=env, output=logger, inherited=inherited)
        leader = process_tree.process(child.pid)
        if leader:
            runs.remember(run_dir, leader, progress)
            signals.go_to(leader)
        started()
        view = View(run_dir, observer, progress)
        announced = False
        while child.returncode is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_POLL_S)
            view.poll()
            if signals.received and not announced:
                announced = True
                observer.line("smtrain: asked the run to end; it may be saving. Ask again to kill it.")
        # torchrun's workers, for one, outlive it when it is killed.
        process_tree.end(run_dir, grace_s=runs.LEFTOVER_GRACE_S)
        with contextlib.suppress(subprocess.TimeoutExpired):
            logger.wait(_LOGGER_TIMEOUT_S)
        view.close()
    code = child.returncode
    return Ended(exit_code=code if code >= 0 else 128 - code, interrupted=bool(signals.received))


def _start(
    run_dir: Path,
    argv: tuple[str, ...],
    *,
    env: Mapping[str, str],
    output: subprocess.Popen[bytes],
    inherited: tuple[int, ...],
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            argv,
            cwd=run_dir / "bundle",
            env={**env, process_tree.MARK: str(run_dir)},
            stdin=subprocess.DEVNULL,
            stdout=output.stdin,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=inherited,
        )
    except FileNotFoundError as error:
        what = f"There is no program `{argv[0]}` on this machine."
        raise fail(what, "Install it.", code=ExitCode.MISSING_HERE) from error
    finally:
        # The workload holds the other end now, and the logger ends with the last who does.
        _close(output)


class _Signals:
    """Passes the signals that this process receives on to the workload, while it goes."""

    def __init__(self, run_dir: Path) -> None:
        self.received: list[int] = []
        self._run_dir = run_dir
        self._leader: Process | None = None
        self._before: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> _Signals:
        # Python lets only the main thread set handlers.
        if threading.current_thread() is threading.main_thread():
            for number in _FORWARDED:
                # nohup ignores SIGHUP, and means it.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def go_to(self, leader: Process) -> None:
        self._leader = leader
        for number in self.received:
            process_tree.send(leader, signal.Signals(number))

    def _receive(self, number: int, _: FrameType | None) -> None:
        self.received.append(number)
        if self._leader is None:
            return
        if len(self.received) == 1:
            process_tree.send(self._leader, signal.Signals(number))
        else:
            process_tree.end(self._run_dir, grace_s=0)


def _fresh_log(run_dir: Path) -> Path:
    """Returns the path of a log that is not there: an earlier try's is kept beside it."""
    log = run_dir / runs.LOG
    log.parent.mkdir(exist_ok=True)
    if log.exists():
        number = 1
        while (older := log.with_name(f"workload-{number}.log")).exists():
            number += 1
        log.rename(older)
    return log


@contextlib.contextmanager
def _logger(log: Path) -> Iterator[subprocess.Popen[bytes]]:
    # By its path and isolated: it starts in the time of a bare interpreter. It holds none of this process's files, for
    # whose end somebody else may wait.
    logger = subprocess.Popen(
        (sys.executable, "-I", "-S", str(Path(log_lines.__file__)), str(log)),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield logger
    finally:
        _close(logger)
        with contextlib.suppress(subprocess.TimeoutExpired):
            logger.wait(_LOGGER_TIMEOUT_S)
        if logger.poll() is None:
            logger.kill()
            logger.wait()


def _close(logger: subprocess.Popen[bytes]) -> None:
    if logger.stdin is not None:
        logger.stdin.close()
