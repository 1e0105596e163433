"""Writes all that the ways to train have in common: the model, the pairs in tokens and in order, the settings.

The tokens are those of our tokenise step, the order is that of our plan: whoever trains on the pairs one after another
has the same pairs in each optimizer step.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from job import ADAPTER, FACTS, NATIVE, Facts, Job
from made_up import pairs, small_model, text_tokenizer, word_tokenizer, words_of
from smtrain_native.runtime import settings, token_store
from smtrain_native.runtime.epochs import Epochs
from smtrain_native.runtime.model import Loaded, load
from smtrain_native.runtime.processes import joined
from smtrain_native.runtime.sample_work import counted
from smtrain_native.runtime.samples import Joined
from smtrain_native.runtime.settings import (
    Batching,
    Checkpoints,
    Data,
    DataSet,
    Loss,
    Model,
    Optimizer,
    Parallel,
    Settings,
    Training,
    Tuning,
)
from transformers import AutoTokenizer

_BUDGET_STEP = 64
_TAGS = {
    "role_tag": "from", "content_tag": "value", "user_tag": "human", "assistant_tag": "gpt", "system_tag": "system",
    "observation_tag": "observation", "function_tag": "function_call",
}  # fmt: skip


def main() -> None:
    """Writes into a folder that is there."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("options", type=json.loads)
    asked = parser.parse_args()
    folder, options = asked.folder, asked.options
    torch.set_num_threads(options["threads"])
    source = options["data"] and json.loads(Path(options["data"]).read_text(encoding="utf-8"))
    model = Path(options["model"]) if options["model"] else folder / "model"
    if not options["model"]:
        small_model(model, text_tokenizer(_texts(source)) if source else word_tokenizer(), options["seed"])
    rows = _rows(folder, model, source, options)
    job = _job(folder, model, options)
    run = _settings(job, rows, options)
    _enough(run, job)
    run = dataclasses.replace(
        run, batching=dataclasses.replace(run.batching, max_tokens_per_device=_budget(run, options))
    )
    (folder / NATIVE).write_text(settings.text(run), encoding="utf-8")
    job.save()
    _plan(run, job)


def _rows(folder: Path, model: Path, source: list[dict[str, object]] | None, options: Mapping[str, object]) -> DataSet:
    """Writes the rows; returns the data set, of exactly as many samples as the steps take."""
    path = folder / "rows.json"
    steps, size, seed, longest = (int(str(options[name])) for name in ("steps", "batch_size", "seed", "max_length"))
    count = steps * size
    found = source or list(pairs(count, words_of(AutoTokenizer.from_pretrained(model)), seed, longest))
    path.write_text(json.dumps(found), encoding="utf-8")
    if "conversations" in found[0]:
        columns = {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"}
        return DataSet(
            name="pairs",
            role="train",
            files=(str(path),),
            format="sharegpt",
            columns=columns,
            tags=_TAGS,
            num_samples=count,
        )
    columns = {name: name for name in ("prompt_id", "prompt", "chosen", "rejected")}
    return DataSet(name="pairs", role="train", files=(str(path),), columns=columns, num_samples=count)


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for each in inner for text in _texts(each)]


def _job(folder: Path, model: Path, options: Mapping[str, object]) -> Job:
    names = ("steps", "batch_size", "learning_rate", "warmup_steps", "tuning", "threads", "seed")
    told: dict[str, object] = {name: options[name] for name in names}
    return Job(folder=str(folder), model=str(model), max_grad_norm=1.0, beta=0.1, **told)  # type: ignore[arg-type]


def _settings(job: Job, rows: DataSet, options: Mapping[str, object]) -> Settings:
    return Settings(
        kind="preference",
        model=Model(path=job.model),
        data=Data(
            sets=(rows,),
            prompt_type="chat" if rows.format == "sharegpt" else "completion",
            max_length=int(str(options["max_length"])),
            workers=job.threads,
            cache_dir=str(Path(job.folder) / "cache"),
        ),
        tuning=Tuning(kind="lora" if job.tuning == "lora" else "full"),
        loss=Loss(kind="dpo", beta=job.beta),
        batching=Batching(batch_size=job.batch_size),
        optimizer=Optimizer(
            learning_rate=job.learning_rate, max_grad_norm=job.max_grad_norm, warmup=float(job.warmup_steps)
        ),
        training=Training(epochs=1.0, precision="fp32"),
        parallel=Parallel(kind="single", device="cpu"),
        checkpoints=Checkpoints(every=None),
        output_dir=str(Path(job.folder) / "output"),
        seed=job.seed,
    )


def _enough(run: Settings, job: Job) -> None:
    """Ends unless there are pairs for all steps: none is to be trained twice."""
    everything = dataclasses.replace(run.data.sets[0], num_samples=None)
    all_of_it = dataclasses.replace(run, data=dataclasses.replace(run.data, sets=(everything,)))
    found = len(Joined(token_store.open_sets(all_of_it, "train")))
    if found < job.steps * job.batch_size:
        message = (
            f"{found} pairs are enough for {found // job.batch_size} steps of {job.batch_size}. Set --steps to that."
        )
        raise SystemExit(message)


def _budget(run: Settings, options: Mapping[str, object]) -> int:
    """Returns the budget asked for; else one that the longest pair just fits in."""
    if options["budget"]:
        return int(str(options["budget"]))
    longest = int(counted(Joined(token_store.open_sets(run, "train")), share_prompts=True).max())
    return -(-longest // _BUDGET_STEP) * _BUDGET_STEP


def _plan(run: Settings, job: Job) -> None:
    """Writes the pairs in the order of our plan, the adapter that everybody starts from, and the facts."""
    folder, samples = Path(job.folder), Joined(token_store.open_sets(run, "train"))
    # As the training itself does, so that the adapter begins the same.
    torch.manual_seed(run.seed)
    loaded = load(run, torch.device("cpu"), trained=True)
    if job.adapter is not None:
        loaded.packed.model.save_pretrained(folder / ADAPTER)
    with joined("cpu") as processes:
        plan = Epochs(run, samples, loaded, processes).first
    report = plan.report()
    if report.steps != job.steps or not report.samples_min == report.samples_max == job.batch_size:
        message = f"{len(samples)} pairs make {report.steps} steps of {report.samples_min} to {report.samples_max}"
        raise SystemExit(message)
    order = np.concatenate([plan.step_samples(step) for step in range(plan.num_steps)])
    found = [samples.sample(int(number)) for number in order]
    parts = zip(*((sample.prompt, *sample.responses) for sample in found), strict=True)
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    columns = {name: pa.array(part, pa.list_(pa.int64())) for name, part in zip(names, parts, strict=True)}
    pq.write_table(pa.table(columns), job.pairs)
    facts = _facts(samples, loaded, run.batching.max_tokens_per_device, report.fill)
    (folder / FACTS).write_text(json.dumps(dataclasses.asdict(facts)), encoding="utf-8")


def _facts(samples: Joined, loaded: Loaded, budget: int, fill: float) -> Facts:
    prompts, *responses = samples.lengths.T
    sequences = np.concatenate([prompts + each for each in responses])
    parameters = list(loaded.packed.parameters())
    return Facts(
        tokens=int(sequences.sum()),
        prompt_tokens=2 * int(prompts.sum()),
        sequences=(float(sequences.mean()), float(np.quantile(sequences, 0.9)), int(sequences.max())),
        parameters=sum(each.numel() for each in parameters),
        trained=sum(each.numel() for each in parameters if each.requires_grad),
        budget=budget,
        budget_fill=fill,
    )


if __name__ == "__main__":
    main()
