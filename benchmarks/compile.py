"""Whole-process time of `smtrain plan` against a bare Hydra application that composes the same config.

    python benchmarks/compile.py [--pairs 15] [--imports 10] [OVERRIDES…]

The two run in turn, A B A B …, so that a drift of the machine's speed hits both; the ratio is taken pair by pair.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BARE = Path(__file__).with_name("bare_hydra.py")


def main() -> None:
    """Prints the times, the ratio and the slowest imports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=15, help="timed pairs, after one that warms the caches")
    parser.add_argument("--imports", type=int, default=10, help="how many of the slowest imports to list")
    parser.add_argument("overrides", nargs="*", help="for both programs")
    options = parser.parse_args()
    plan = [sys.executable, "-m", "smtrain.cli", "plan", *options.overrides]
    bare = [sys.executable, str(BARE), *options.overrides]
    with tempfile.TemporaryDirectory() as folder:
        pairs = [(seconds(plan, folder), seconds(bare, folder)) for _ in range(options.pairs + 1)][1:]
        show("smtrain plan", [ours for ours, _ in pairs], "s")
        show("bare Hydra", [theirs for _, theirs in pairs], "s")
        show("ratio", [ours / theirs for ours, theirs in pairs], "")
        print("\nslowest imports of smtrain plan, own time (ms), one run:")
        for milliseconds, module in imports(plan, folder)[: options.imports]:
            print(f"{milliseconds:8.1f}  {module}")


def seconds(command: list[str], folder: str) -> float:
    """Returns the wall time of one whole process, in seconds."""
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - start


def show(title: str, values: list[float], unit: str) -> None:
    """Prints minimum, median and maximum."""
    figures = {"min": min(values), "median": statistics.median(values), "max": max(values)}
    print(f"{title:<14}", "  ".join(f"{name} {value:.3f}{unit}" for name, value in figures.items()))


def imports(command: list[str], folder: str) -> list[tuple[float, str]]:
    """Returns (own milliseconds, module) of every import, the slowest first."""
    done = subprocess.run(
        command,
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"},
    )
    rows = [line.removeprefix("import time:").split("|") for line in done.stderr.splitlines() if "|" in line]
    return sorted(((int(own) / 1000, name.strip()) for own, _, name in rows if own.strip().isdigit()), reverse=True)


if __name__ == "__main__":
    main()
