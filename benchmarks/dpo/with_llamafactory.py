"""LLaMA-Factory, stage dpo: `with_llamafactory.py FOLDER RESULT MICRO_BATCH`.

Its fastest settings that are correct: no gradient checkpointing, SDPA, fp32. Its DPO trainer sets
`precompute_ref_log_probs` to false itself: the reference is computed in every step, by a second copy of the model, or
with the adapter turned off.
"""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import datasets
import measured
import pyarrow.parquet as pq
import torch
import transformers
from job import Job
from llamafactory.train import tuner
from llamafactory.train.dpo import trainer as dpo_trainer
from measured import Measured
from rival import Clock, counted

_NOT_TRAINED = -100


def write_tokens(job: Job, folder: Path) -> None:
    """Writes the pairs as LLaMA-Factory keeps its own tokens."""
    rows = pq.read_table(job.pairs).to_pylist()

    def sequence(row: dict[str, list[int]], response: str) -> dict[str, object]:
        prompt, ids = row["prompt_ids"], row[f"{response}_ids"]
        return {
            f"{response}_input_ids": prompt + ids,
            f"{response}_attention_mask": [1] * len(prompt + ids),
            f"{response}_labels": [_NOT_TRAINED] * len(prompt) + ids,
        }

    media = {"images": None, "videos": None, "audios": None}
    made = datasets.Dataset.from_list(
        [{**sequence(row, "chosen"), **sequence(row, "rejected"), **media} for row in rows]
    )
    datasets.DatasetDict({"train": made}).save_to_disk(str(folder))


def arguments(job: Job, micro_batch: int, tokens: Path, output: Path) -> dict[str, object]:
    """Returns the settings."""
    lora = {} if job.adapter is None else {"adapter_name_or_path": job.adapter}
    return {
        "stage": "dpo",
        "do_train": True,
        "model_name_or_path": job.model,
        "finetuning_type": job.tuning,
        "template": "empty",
        "dataset": "pairs",
        "tokenized_path": str(tokens),
        "output_dir": str(output),
        "overwrite_output_dir": True,
        "per_device_train_batch_size": micro_batch,
        "gradient_accumulation_steps": job.batch_size // micro_batch,
        "num_train_epochs": 1.0,
        "learning_rate": job.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": job.warmup_steps,
        "weight_decay": 0.0,
        "max_grad_norm": job.max_grad_norm,
        "pref_beta": job.beta,
        "pref_loss": "sigmoid",
        "disable_shuffling": True,
        "disable_gradient_checkpointing": True,
        "flash_attn": "sdpa",
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": job.seed,
        **lora,
    }


def main() -> None:
    """Trains."""
    job, result, micro_batch = Job.load(Path(sys.argv[1])), Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(job.threads)
    tokens = result.parent / "llamafactory-tokens"
    if not tokens.is_dir():
        write_tokens(job, tokens)
    clock = Clock()
    dpo_trainer.CustomDPOTrainer = counted(dpo_trainer.CustomDPOTrainer, clock)
    libraries = measured.resident()
    tuner.run_exp(arguments(job, micro_batch, tokens, result.parent / "llamafactory"), callbacks=[clock])
    Measured(
        training_s=clock.watch.seconds,
        cpu_s=clock.watch.cpu_s,
        losses=tuple(clock.losses),
        tokens=clock.tokens,
        computed=clock.computed,
        peak=clock.peak,
        libraries=libraries,
        versions=f"LLaMA-Factory {metadata.version('llamafactory')}, TRL {metadata.version('trl')}, "
        f"transformers {transformers.__version__}, torch {torch.__version__}",
    ).save(result)


if __name__ == "__main__":
    main()
