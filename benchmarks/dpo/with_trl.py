"""TRL's `DPOTrainer`: `with_trl.py FOLDER RESULT MICRO_BATCH [sorted]`, in an environment with TRL.

Its fastest settings that are correct: reference log-probabilities computed before, no gradient checkpointing, fp32 as
all others, SDPA; metrics as it computes them, which no setting turns off. `padding_free=True` warns and does nothing
in 1.16.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import datasets
import measured
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
import transformers
import trl
from job import Job
from measured import Measured, Stopwatch
from rival import Clock, counted
from transformers import AutoTokenizer
from trl import DPOConfig, DPOTrainer


class Trainer(DPOTrainer):  # type: ignore[misc]
    """Takes tokens as they are, and the time of the reference pass."""

    watch = Stopwatch()

    def _prepare_dataset(self, dataset: datasets.Dataset, *_: object) -> datasets.Dataset:
        return dataset

    def _precompute_ref_logps(self, *args: Any) -> datasets.Dataset:  # noqa: ANN401
        with self.watch:
            return super()._precompute_ref_logps(*args)


def config(job: Job, micro_batch: int, output: Path) -> DPOConfig:
    """Returns the settings."""
    return DPOConfig(
        output_dir=str(output),
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=job.batch_size // micro_batch,
        num_train_epochs=1,
        learning_rate=job.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=job.warmup_steps,
        weight_decay=0.0,
        max_grad_norm=job.max_grad_norm,
        beta=job.beta,
        max_length=None,
        precompute_ref_log_probs=True,
        train_sampling_strategy="sequential",
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        dataloader_pin_memory=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=job.seed,
    )


def rows(job: Job, *, by_length: bool) -> datasets.Dataset:
    """Returns the pairs; sorted by length within each step if so asked, which spares padding."""
    table = pq.read_table(job.pairs)
    if by_length:
        longest = pc.max_element_wise(*(pc.list_value_length(table[name]) for name in ("chosen_ids", "rejected_ids")))
        keys = pa.table(
            {
                "step": [number // job.batch_size for number in range(len(table))],
                "tokens": pc.add(pc.list_value_length(table["prompt_ids"]), longest),
            }
        )
        table = table.take(pc.sort_indices(keys, [("step", "ascending"), ("tokens", "descending")]))
    return datasets.Dataset(table)


def adapter(job: Job) -> dict[str, object]:
    """Returns what makes it a LoRA training."""
    if job.adapter is None:
        return {}
    from peft import LoraConfig

    return {"peft_config": LoraConfig.from_pretrained(job.adapter)}


def main() -> None:
    """Trains."""
    job, result, micro_batch = Job.load(Path(sys.argv[1])), Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(job.threads)
    clock = Clock()
    told = {
        "args": config(job, micro_batch, result.parent / "trl"),
        "train_dataset": rows(job, by_length="sorted" in sys.argv[4:]),
        "processing_class": AutoTokenizer.from_pretrained(job.model),
        "callbacks": [clock],
        **adapter(job),
    }
    libraries = measured.resident()
    trainer = counted(Trainer, clock)(job.model, **told)
    if job.adapter is not None:
        from peft import load_peft_weights, set_peft_model_state_dict

        set_peft_model_state_dict(trainer.model, load_peft_weights(job.adapter))
    trainer.train()
    Measured(
        training_s=clock.watch.seconds,
        reference_s=trainer.watch.seconds,
        cpu_s=clock.watch.cpu_s + trainer.watch.cpu_s,
        losses=tuple(clock.losses),
        tokens=clock.tokens,
        computed=clock.computed,
        peak=clock.peak,
        libraries=libraries,
        versions=f"TRL {trl.__version__}, transformers {transformers.__version__}, torch {torch.__version__}",
    ).save(result)


if __name__ == "__main__":
    main()
