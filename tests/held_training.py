"""A training that waits at one of its checkpoints, so that a test need not be quicker than it is."""

from __future__ import annotations

from pathlib import Path

_WAITS = """\
import os, sys, time

def wait(event, arguments):
    if event == "os.mkdir" and os.path.basename(os.fsdecode(arguments[0])) == {name!r}:
        while not os.path.exists({go!r}):
            time.sleep(0.05)

sys.addaudithook(wait)
"""


def hold(folder: Path, step: int, *, go: Path) -> Path:
    """Writes a module that keeps a trainer from making the checkpoint of a step, and so from any step after it.

    Args:
      folder: where the module comes to. Every Python that has this on PYTHONPATH heeds it.
      step: number of the checkpoint.
      go: the file that ends the waiting.

    Returns:
      The folder.
    """
    folder.mkdir()
    text = _WAITS.format(name=f"checkpoint-{step}", go=str(go.absolute()))
    # Python imports it at its start (docs.python.org, `site`).
    (folder / "sitecustomize.py").write_text(text, encoding="utf-8")
    return folder
