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

HERE = Path("examples/quickstart")  # from the root of the repository, where make runs it
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


def output_of(*argv: str) -> str:
    """Runs a command, and returns what it printed; its errors are shown.

    Raises:
      SystemExit: with the command's own exit code, when it fails.
    """
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    return done.stdout.strip()


def train() -> Path:
    """Trains where everybody can watch, and returns the run's folder."""
    smtrain = str(Path(sys.executable).with_name("smtrain"))
    words = ("--config-dir", str(HERE / "conf"), *OVERRIDES)
    print(f"\n$ smtrain {shlex.join(words)}", flush=True)
    code = subprocess.run((smtrain, *words), check=False).returncode
    if code:
        raise SystemExit(code)
    # A run that succeeded is not run again: this only tells where it is.
    return Path(json.loads(output_of(smtrain, *words, "--json").splitlines()[-1])["run_dir"])


def main() -> None:
    """Prepares, asks, trains, asks again."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    subprocess.run(python("prepare_model.py", MODEL), check=True)
    before = output_of(*python("ask.py", MODEL, QUESTION))
    print(f"\nQuestion: {QUESTION}\nBefore:   {before}", flush=True)

    run = train()
    adapter = min((run / "output").rglob("adapter_config.json")).parent
    after = output_of(*python("ask.py", MODEL, QUESTION, adapter))
    print(f"\nQuestion: {QUESTION}\nBefore:   {before}\nAfter:    {after}\n")
    print(f"Adapter:    {adapter}\nLoss curve: {run / 'loss.png'}\nMetrics:    {run / 'metrics.jsonl'}")
    print(f"Bundle:     {run / 'bundle'}   what was executed, and nothing else")


if __name__ == "__main__":
    main()
