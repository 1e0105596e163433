"""Runs of the plain trainer in the Slurm of the tests."""

from __future__ import annotations

import time
from collections.abc import Callable

from commands import Smtrain

COUNTS = """
last=$(ls -d out/checkpoint-*/done 2>/dev/null | sort -V | tail -n 1 | tr -dc 0-9)
step=$((last))
echo "going on from step $step"
save() {
  step=$((step + 1))
  if [ $SMTRAIN_NODE_RANK = 0 ]; then
    mkdir -p out/checkpoint-$step
    echo "{\\"step\\": $step, \\"total\\": 2, \\"loss\\": $step.5}" >>out/log.jsonl
    echo $step >out/checkpoint-$step/state
    touch out/checkpoint-$step/done
  fi
}
trap 'echo saving; save; exit 143' TERM
if [ $step = 0 ]; then save; echo first; sleep 600 & wait; fi
save
if [ $SMTRAIN_NODE_RANK = 0 ]; then echo $step >out/adapter.txt; fi
"""
"""Saves a first checkpoint and waits; whatever goes on from a checkpoint saves another one and ends."""


def script(text: str) -> str:
    """Returns the override that has every node run this bash source."""
    quoted = text.replace("'", "\\'").replace("${", "\\${")
    return f"trainer.script='{quoted}'"


def until(condition: Callable[[], object], timeout_s: float = 60) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.1)


def submit(smtrain: Smtrain, *words: str) -> tuple[str, str]:
    """Submits a run, and returns its id and the job's."""
    answer = smtrain("run", *words, "--detach", "--json")
    assert answer.code == 0, answer.out + answer.err
    return str(answer.document["run_id"]), str(answer.document["job"])
