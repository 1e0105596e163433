"""Trains a character n-gram model: `python train_ngram.py CONFIG`. Runs on the target, with the standard library."""

import json
import math
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

END = "\0"


def texts(path: Path, column: str) -> Iterator[str]:
    """Yields the texts of a .jsonl or .txt file, or of all those in a folder."""
    if path.is_dir():
        for file in sorted(path.iterdir()):
            yield from texts(file, column)
        return
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)[column] if path.suffix == ".jsonl" else line.rstrip("\n")


def train(config: dict[str, Any]) -> dict[str, object]:
    """Counts batch by batch; the loss of a batch is that of the model before it has seen the batch."""
    order, smoothing = config["order"], config["smoothing"]
    rows = [text + END for source in config["rows"] for text in texts(Path(source["path"]), source["column"])]
    random.Random(config["seed"]).shuffle(rows)
    vocabulary = sorted(set("".join(rows)))
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    batches = [rows[start : start + config["batch_size"]] for start in range(0, len(rows), config["batch_size"])]
    with (Path(config["output"]) / "progress.jsonl").open("w", encoding="utf-8") as progress:
        for step, batch in enumerate(batches, start=1):
            grams = [(row[max(0, at - order + 1) : at], row[at]) for row in batch for at in range(len(row))]
            loss = 0.0
            for context, character in grams:
                seen = counts[context]
                probability = (seen[character] + smoothing) / (seen.total() + smoothing * len(vocabulary))
                loss -= math.log(probability) / len(grams)  # nats a character
            for context, character in grams:
                counts[context][character] += 1
            print(json.dumps({"step": step, "total": len(batches), "loss": round(loss, 4)}), file=progress, flush=True)
    return {"order": order, "smoothing": smoothing, "vocabulary": vocabulary, "counts": counts}


if __name__ == "__main__":
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    model = Path(settings["output"]) / "model.json"
    model.write_text(json.dumps(train(settings), sort_keys=True), encoding="utf-8")
    print(f"wrote {model}")
