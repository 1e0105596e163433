"""Runs the program of a worker process, and spares the process the interpreter's teardown; a file of the run.

    python smtrain_worker.py -m MODULE [ARGUMENT…]
    python smtrain_worker.py FILE [ARGUMENT…]

Under gloo, one of torch's threads may still hold a tensor when the interpreter is torn down. It is then ended in the
midst of C++, and the process with it: "terminate called without an active exception", exit code -6, after a training
that went well (pytorch/pytorch issue 190489; seen with torch 2.13, on a busy machine). So the process leaves once all
that was registered for its exit is done. The standard library alone is needed.
"""

from __future__ import annotations

import atexit
import os
import runpy
import sys
from pathlib import Path

_exit_code: list[int] = []


def main(words: list[str]) -> None:
    """Runs a program as the interpreter would, under its name `__main__`.

    Args:
      words: what would follow `python` on a command line.
    """
    atexit.register(_leave)  # the first that is registered is the last that is called
    try:
        if words[0] == "-m":
            sys.path[0] = str(Path.cwd())
            sys.argv[:] = words[1:]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.path[0] = str(Path(words[0]).resolve().parent)
            sys.argv[:] = words
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as asked:
        _exit_code.append(_number(asked.code))
    else:
        _exit_code.append(0)


def _number(code: object) -> int:
    if isinstance(code, int):
        return code & 0xFF
    if code is not None:
        sys.stderr.write(f"{code}\n")
    return 0 if code is None else 1


def _leave() -> None:
    """Ends the process; one that failed with a traceback goes the interpreter's way, which knows what to print."""
    if _exit_code:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_exit_code[0])


if __name__ == "__main__":
    main(sys.argv[1:])
