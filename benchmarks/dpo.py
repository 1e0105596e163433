"""Direct preference optimization: the native trainer, TRL and LLaMA-Factory on the same pairs.

    python benchmarks/dpo.py [--model FOLDER] [--data FILE] [--tuning lora] [--steps 40] [--pairs 3] [--json FILE]

Without --model, a small Llama with random weights; without --data, random words in pairs of long-tailed lengths.
Everybody trains the same weights in fp32 with the same AdamW, schedule, clipping and loss, on the same tokens, and each
optimizer step has the same pairs: those of our plan, which the others are given in order. A rival is named with its
micro-batch, `trl:4`, and may be given the pairs of each step sorted by length, `trl:4:sorted`, which spares it padding.

Every training is a process of its own (ours are two: the reference pass, then the training), and they run in turn:
ours, rival, ours, next rival, …; a ratio is taken between neighbours. TRL runs in an environment that is made on demand
in --trl-env, with the torch and transformers of this one; LLaMA-Factory in this one. docs/performance.md defines every
figure. Needs the extras `llamafactory` and `native`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PARTS = Path(__file__).resolve().parent / "dpo"
# In place of this folder, in which `import tokenize` of a library would find a file of ours.
sys.path[0] = str(PARTS)

import tables  # noqa: E402
import trl_environment  # noqa: E402
from job import Facts  # noqa: E402
from measured import Measured  # noqa: E402
from tables import Pair  # noqa: E402

RIVALS = ("trl:1", "trl:2", "trl:4", "trl:2:sorted", "trl:4:sorted", "llamafactory:1")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "smtrain"


def main() -> None:
    """Prints the tables."""
    options = arguments()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        bench = Bench(folder, options)
        bench.prepare()
        facts = Facts.load(folder)
        pairs: dict[str, list[Pair]] = {rival: [] for rival in options.rivals}
        for _ in range(options.pairs):
            for rival in options.rivals:
                pairs[rival].append(Pair(ours=bench.ours(), theirs=bench.rival(rival)))
                say(f"{rival}: {told(pairs[rival][-1], facts)}")
        tables.show(pairs, facts)
        if options.json:
            save(options.json, pairs, facts)


def arguments() -> argparse.Namespace:
    """Returns what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder of a model and its tokenizer")
    parser.add_argument("--data", type=Path, help="json: rows of conversations (or prompt), chosen and rejected")
    parser.add_argument("--max-length", type=int, default=2048, help="longer pairs are left out")
    parser.add_argument("--tuning", choices=("full", "lora"), default="full")
    parser.add_argument("--rivals", nargs="+", default=RIVALS, metavar="NAME:MICRO_BATCH[:sorted]")
    parser.add_argument("--steps", type=int, default=40, help="optimizer steps")
    parser.add_argument("--batch-size", type=int, default=16, help="pairs of an optimizer step")
    parser.add_argument("--budget", type=int, help="tokens of our micro-batches; the longest pair's by default")
    parser.add_argument("--learning-rate", type=float, default=1e-5)
    parser.add_argument("--pairs", type=int, default=3, help="times that each rival runs beside ours")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--trl-env", type=Path, default=CACHE / "benchmarks" / "trl", help="made on demand")
    parser.add_argument("--folder", type=Path, help="for everything that is written; the system's own by default")
    parser.add_argument("--json", type=Path, help="receives every run's figures")
    options = parser.parse_args()
    for name in options.rivals:
        found = re.fullmatch(r"(trl:([1-9]\d*)(:sorted)?|llamafactory:([1-9]\d*))", name)
        if found is None or options.batch_size % int(found[2] or found[4]):
            parser.error(f"rival {name!r}: it is trl:N, trl:N:sorted or llamafactory:N, where N divides --batch-size")
    return options


class Bench:
    """Runs every way in its own process."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder, self.options = folder, options
        trl = any(name.startswith("trl:") for name in options.rivals)
        self.pythons = {
            "trl": str(trl_environment.interpreter(options.trl_env)) if trl else "",
            "llamafactory": sys.executable,
        }

    def prepare(self) -> None:
        """Writes model, pairs and settings."""
        options = self.options
        told = {
            "model": options.model and str(options.model.resolve()),
            "data": options.data and str(options.data.resolve()),
            "warmup_steps": math.ceil(options.steps / 10),
            **{
                name: getattr(options, name)
                for name in (
                    "steps",
                    "batch_size",
                    "learning_rate",
                    "tuning",
                    "threads",
                    "seed",
                    "max_length",
                    "budget",
                )
            },
        }
        self.run(sys.executable, "prepare", self.folder, json.dumps(told))

    def ours(self) -> Measured:
        """Runs both steps of ours; the peak is that of the larger one."""
        reference, train = (self.measured(sys.executable, "ours", part) for part in ("reference", "train"))
        larger = max(reference, train, key=lambda each: each.peak)
        return dataclasses.replace(
            train,
            reference_s=reference.reference_s,
            cpu_s=reference.cpu_s + train.cpu_s,
            peak=larger.peak,
            libraries=larger.libraries,
        )

    def rival(self, name: str) -> Measured:
        """Runs a rival."""
        program, *more = name.split(":")
        return self.measured(self.pythons[program], f"with_{program}", *more)

    def measured(self, python: str, script: str, *words: str) -> Measured:
        """Runs a script that measures itself."""
        result = self.folder / "result.json"
        result.unlink(missing_ok=True)
        before, after = (words, ()) if script == "ours" else ((), words)
        self.run(python, script, *before, self.folder, result, *after)
        return Measured.load(result)

    def run(self, python: str, script: str, *words: str | Path) -> None:
        """Runs a script, quietly unless it fails."""
        command = (python, str(PARTS / f"{script}.py"), *map(str, words))
        threads = str(self.options.threads)
        env = {
            **os.environ, "PYTHONPATH": str(ROOT / "plugins"), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
            "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "HF_DATASETS_CACHE": str(self.folder / "datasets"),
            "CUDA_VISIBLE_DEVICES": "",
        }  # fmt: skip
        done = subprocess.run(command, env=env, cwd=self.folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{done.stdout[-4000:]}{done.stderr[-4000:]}\n{script} failed: {done.returncode}")  # noqa: EM102


def told(pair: Pair, facts: Facts) -> str:
    """Returns a pair in one line."""
    ours, theirs = (
        f"{tables.everything(each, facts):,.0f} tokens/s on {tables.cores(each):.1f} cores"
        for each in (pair.ours, pair.theirs)
    )
    counted = {pair.ours.tokens, pair.theirs.tokens, facts.tokens}
    agree = "the same tokens" if len(counted) == 1 else f"tokens differ: {sorted(counted)}"
    return f"ours {ours}, theirs {theirs}; losses differ by {tables.difference([pair]):.1e}; {agree}"


def say(line: str) -> None:
    """Prints at once: a round takes minutes."""
    print(line, flush=True)


def save(path: Path, pairs: dict[str, list[Pair]], facts: Facts) -> None:
    """Writes every figure."""
    runs = {name: [dataclasses.asdict(pair) for pair in each] for name, each in pairs.items()}
    path.write_text(json.dumps({"facts": dataclasses.asdict(facts), "runs": runs}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
