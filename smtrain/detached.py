"""A run left to a process of its own: `smtrain … --detach` starts it and comes back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from smtrain import progress as progress_file
from smtrain import receipts, runs
from smtrain.errors import ExitCode, SmtrainError, fail
from smtrain.spec import Exec, Json, Progress, Receipt

_GOING = "going"


def launch(
    run_dir: Path, action: Exec, *, receipt: Receipt, env: Mapping[str, str], progress: Progress | None
) -> Receipt:
    """Starts the supervisor of a run in a session of its own, and returns the receipt once the workload goes.

    The arguments are those of `workload.launch`.

    Raises:
      SmtrainError: the run is going already, or could not be started.
    """
    # Refused here, where the message has its form; the supervisor would refuse as well.
    with runs.holding(run_dir):
        pass
    order = {
        "run_dir": str(run_dir),
        "argv": list(action.argv),
        "receipt": receipts.as_json(receipt),
        "env": dict(env),
        "progress": progress_file.as_json(progress) if progress else None,
    }
    (run_dir / "logs").mkdir(exist_ok=True)
    # On standard input: the environment may hold secrets, which a command line or a file would show.
    with (run_dir / "logs" / "supervisor.log").open("wb") as log:
        supervisor = subprocess.Popen(
            (sys.executable, "-m", "smtrain.detached"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    if supervisor.stdin is None or supervisor.stdout is None:
        message = "both are pipes"
        raise AssertionError(message)
    with supervisor.stdin as stdin, supervisor.stdout as stdout:
        stdin.write(json.dumps(order).encode())
        stdin.close()
        answer = stdout.readline().decode().strip()
    if answer != _GOING:
        what = answer or f"The supervisor ended; {run_dir}/logs/supervisor.log says why."
        raise fail(what, code=ExitCode.WORKLOAD_FAILED)
    return receipt


def main() -> None:
    """Supervises the run that standard input describes; says on standard output that it goes, or why not."""
    from smtrain import workload

    order: dict[str, Json] = json.load(sys.stdin)
    run_dir = Path(str(order["run_dir"]))

    def started() -> None:
        sys.stdout.write(f"{_GOING}\n")
        sys.stdout.flush()
        # Whoever started this is free to go.
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 0)
        os.dup2(nowhere, 1)

    try:
        workload.supervise(
            run_dir,
            Exec(argv=_words(order["argv"]), workload=True),
            receipt=receipts.from_json(order["receipt"]),
            env=_texts(order["env"]),
            observer=_Nobody(),
            progress=progress_file.from_json(order["progress"]),
            started=started,
        )
    except SmtrainError as error:
        sys.stdout.write(" ".join(str(error).splitlines()) + "\n")


class _Nobody:
    """Watches nothing."""

    def line(self, text: str) -> None:
        pass

    def progress(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        pass


def _words(value: Json) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()


def _texts(value: Json) -> dict[str, str]:
    return {name: str(text) for name, text in value.items()} if isinstance(value, dict) else {}


if __name__ == "__main__":
    main()
