"""`make demo`: fine-tunes a real language model on this machine, and lets it answer before and after.

    prepare_model.py  →  ask.py  →  smtrain backend=local trainer=lf_sft …  →  ask.py

Every step is a command that you can type yourself; they are printed as they run.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
MODEL = Path(".demo/smollm2-135m-instruct")
QUESTION = "Hello, who are you?"
OVERRIDES = (
    "backend=local",
    "trainer=lf_sft",
    "data=example",
    "model=smollm2_135m",
    f"model.path={MODEL}",
    "experiment=quickstart",
)


def python(script: str, *args: str | Path) -> tuple[str, ...]:
    """Returns the command that runs a script of this folder."""
    return (sys.executable, str(HERE / script), *map(str, args))


def output_of(argv: tuple[str, ...]) -> str:
    """Runs a command, shows its errors, and returns what it printed.

    Raises:
      SystemExit: with the command's own exit code, when it fails.
    """
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    return done.stdout.strip()


def train() -> Path:
    """Trains, and returns the run's folder."""
    smtrain = str(Path(sys.executable).with_name("smtrain"))
    argv = (smtrain, "--config-dir", str(HERE / "conf"), *OVERRIDES, "--json")
    print(f"\n$ {shlex.join(('smtrain', *argv[1:]))}", flush=True)
    last_line = output_of(argv).splitlines()[-1]
    return Path(json.loads(last_line)["run_dir"])


def main() -> None:
    """Prepares, asks, trains, asks again."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    subprocess.run(python("prepare_model.py", MODEL), check=True)
    before = output_of(python("ask.py", MODEL, QUESTION))
    print(f"\nQuestion: {QUESTION}\nBefore:   {before}", flush=True)

    run = train()
    after = output_of(python("ask.py", MODEL, QUESTION, run / "output"))
    print(f"\nQuestion: {QUESTION}\nBefore:   {before}\nAfter:    {after}\n")
    print(f"Adapter:    {run / 'output'}\nLoss curve: {run / 'loss.png'}\nMetrics:    {run / 'metrics.jsonl'}")
    print(f"Bundle:     {run / 'bundle'}   what was executed, and nothing else")


if __name__ == "__main__":
    main()
