"""Rows to memory-mapped tokens: the native trainer, `datasets.map`, and the tokenizer's own batch call.

    python benchmarks/tokenize.py --model FOLDER [--rows FILE] [--megabytes 40] [--rounds 5] [--workers 2]

Each way tokenises prompt and response of the same rows, apart, with the same tokenizer. Ours and `datasets.map` go from
a JSON Lines file to Arrow files in an empty folder with the same number of processes; the batch call has its texts in
memory, all cores in its own threads, and leaves nothing. The ways run in turn, A B C A B C …, each as a process of its
own that takes the time after its imports and after loading the tokenizer; a ratio is taken round by round, and above
1 ours is faster. CPU seconds are those of the process and its children: on a machine that others use as well they say
more than the clock. Without --rows, text is made up: words by Zipf's law, lengths with a long tail.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# In place of this folder, in which a library's `import tokenize` would find this file.
sys.path[0] = str(ROOT / "plugins")
WAYS = ("ours", "datasets.map", "batch call")


def main() -> None:
    """Prints tokens per second of each way, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder with a tokenizer")
    parser.add_argument("--rows", type=Path, help="jsonl, or a json array; its texts are taken pair by pair")
    parser.add_argument("--megabytes", type=int, default=40, help="of text; the rows are repeated up to it")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds, after one that warms the caches")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(run(options.way, options.data, options.model, options.workers)))
        return
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "rows.jsonl"
        write_rows(data, options.rows, options.megabytes << 20)
        print(f"{data.stat().st_size / 1e6:,.1f} MB of JSON Lines, {options.workers} processes, {os.cpu_count()} cores")
        rounds = [[timed(way, data, options) for way in WAYS] for _ in range(options.rounds + 1)][1:]
    for clock, unit in enumerate(("s", "CPU second")):
        rates = [[tokens / seconds[clock] / 1e6 for tokens, *seconds in each] for each in rounds]
        for way, found in zip(WAYS, zip(*rates, strict=True), strict=True):
            show(way, list(found), f" M tokens/{unit}")
        for number, way in enumerate(WAYS[1:], 1):
            show(f"ours / {way}", [each[0] / each[number] for each in rates], "")


def timed(way: str, data: Path, options: argparse.Namespace) -> tuple[int, float, float]:
    """Runs one way in a process of its own; returns tokens, seconds, and CPU seconds."""
    command = (sys.executable, __file__, "--way", way, "--data", str(data), "--model", str(options.model))
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": str(way == "batch call").lower()}
    words = (*command, "--workers", str(options.workers))
    done = subprocess.run(words, env=env, check=True, stdout=subprocess.PIPE, text=True)
    tokens, seconds, cpu_seconds = json.loads(done.stdout.splitlines()[-1])
    return tokens, seconds, cpu_seconds


class Clock:
    """Takes the time from its making on."""

    def __init__(self) -> None:
        self._start, self._cpu_start = time.perf_counter(), self._cpu_s()

    def read(self) -> tuple[float, float]:
        """Returns seconds, and CPU seconds of this process and its children that have ended."""
        return time.perf_counter() - self._start, self._cpu_s() - self._cpu_start

    @staticmethod
    def _cpu_s() -> float:
        return sum(os.times()[:4])


def run(way: str, data: Path, model: Path, workers: int) -> tuple[int, float, float]:
    """Tokenises in this process and its children."""
    with tempfile.TemporaryDirectory() as folder:
        return {"ours": ours, "datasets.map": mapped, "batch call": batch_call}[way](data, model, workers, Path(folder))


def ours(data: Path, model: Path, workers: int, folder: Path) -> tuple[int, float, float]:
    """Fills an empty cache."""
    from smtrain_native.runtime import prepare as preparing
    from smtrain_native.runtime.encode import Encoding, encoder_for
    from smtrain_native.runtime.settings import Data, DataSet, Model, Settings
    from smtrain_native.runtime.tokenize_progress import Progress
    from smtrain_native.runtime.tokenizer_files import tokenizer_digest

    columns = {"prompt": "prompt", "response": "response"}
    rows = DataSet(name="rows", role="train", files=(str(data),), columns=columns)
    told = Data(
        sets=(rows,),
        prompt_type="completion",
        max_length=1 << 30,
        duplicates="keep",
        workers=workers,
        cache_dir=str(folder),
    )
    settings = Settings(kind="sft", model=Model(path=str(model)), data=told)
    digest = tokenizer_digest(model, settings.model, folder)
    # The same encoding as below, so that the tokenizer is loaded before the clock starts.
    encoder_for(Encoding(tokenizer=model, digest=digest, kind="sft", prompt_type="completion", append_eos=True))
    clock = Clock()
    prepared = preparing.prepare(settings, rows, Path(), Progress(None))
    return prepared.store.tokens, *clock.read()


def mapped(data: Path, model: Path, workers: int, folder: Path) -> tuple[int, float, float]:
    """Loads and maps with `datasets`, whose own cache is the empty folder."""
    import datasets
    from transformers import AutoTokenizer

    datasets.disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(model)
    end = tokenizer.eos_token_id

    def encode(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        prompts = tokenizer(batch["prompt"], add_special_tokens=False)["input_ids"]
        responses = tokenizer(batch["response"], add_special_tokens=False)["input_ids"]
        return {"prompt_ids": prompts, "response_ids": [[*response, end] for response in responses]}

    clock = Clock()
    rows = datasets.load_dataset("json", data_files=str(data), split="train", cache_dir=str(folder))
    done = rows.map(encode, batched=True, num_proc=workers, remove_columns=["prompt", "response"])
    seconds = clock.read()
    columns = done.with_format("arrow")[:]
    return sum(len(columns[name].combine_chunks().flatten()) for name in ("prompt_ids", "response_ids")), *seconds


def batch_call(data: Path, model: Path, _workers: int, _folder: Path) -> tuple[int, float, float]:
    """Calls the tokenizer on a thousand texts at a time, in all cores' threads."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    rows = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]
    texts = [text for row in rows for text in (row["prompt"], row["response"])]
    clock = Clock()
    tokens = 0
    for first in range(0, len(texts), 1000):
        ids = tokenizer(texts[first : first + 1000], add_special_tokens=False)["input_ids"]
        tokens += sum(map(len, ids))
    return tokens + len(rows), *clock.read()  # with the end of each response, which is no text


def write_rows(path: Path, source: Path | None, size: int) -> None:
    """Writes rows of prompt and response up to a size."""
    pairs = list(_pairs(source)) if source else list(_made_up())
    written = 0
    with path.open("w", encoding="utf-8") as stream:
        while written < size:
            for prompt, response in pairs:
                written += stream.write(json.dumps({"prompt": prompt, "response": response}) + "\n")
                if written >= size:
                    break


def _pairs(source: Path) -> Iterator[tuple[str, str]]:
    text = source.read_text(encoding="utf-8")
    rows = json.loads(text) if text.lstrip().startswith("[") else map(json.loads, filter(None, text.split("\n")))
    for row in rows:
        texts = list(_texts(row))
        yield from zip(texts[:1] * len(texts[1:]), texts[1:], strict=True)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for name, each in value.items() if name not in ("from", "role") for text in _texts(each))
    elif isinstance(value, list):
        yield from (text for each in value for text in _texts(each))


def _made_up() -> Iterator[tuple[str, str]]:
    rng = random.Random(0)
    letters, weights = "etaoinshrdlucmfwypvbgk", range(22, 0, -1)
    words = ["".join(rng.choices(letters, weights, k=rng.randint(1, 11))) for _ in range(50_000)]
    ranks = [1 / rank for rank in range(1, len(words) + 1)]

    def text(mean: float) -> str:
        count = max(1, int(rng.lognormvariate(0, 0.8) * mean))
        return " ".join(rng.choices(words, cum_weights=cumulative, k=count)).capitalize() + "."

    cumulative = [sum(ranks[:1])]
    for rank in ranks[1:]:
        cumulative.append(cumulative[-1] + rank)
    for _ in range(10_000):
        yield text(60) + "\n", text(150)


def show(title: str, values: list[float], unit: str) -> None:
    """Prints minimum, median and maximum."""
    figures = {"min": min(values), "median": statistics.median(values), "max": max(values)}
    print(f"{title:<20}", "  ".join(f"{name} {value:.3f}{unit}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
