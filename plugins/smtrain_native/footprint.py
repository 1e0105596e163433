"""What a native training keeps in memory, for the estimate in the plan."""

from __future__ import annotations

from smtrain.plugin import Footprint, Job
from smtrain_native.options import NativeOptions

LOSS_BYTES = 3 * 256 * 2**20
"""The scores of `runtime.logprobs.GPU_CHUNK_BYTES`, their softmax and its gradient."""

_HALF, _WHOLE = 2, 4  # bytes of a weight


def footprint(job: Job, options: NativeOptions) -> Footprint | None:
    """Returns what the training keeps in memory; None when that is not known.

    A micro-batch is one row of tokens without padding. The reference's log-probabilities are computed before, so no
    second model is held, and what a pair's two sequences share is within the row's tokens.
    """
    if job.adapters or options.attention == "separate":
        return None
    lora = options.tuning.kind == "lora"
    mixed = options.precision == "bf16"
    return Footprint(
        tuning=options.tuning.kind,
        weight_bytes=_HALF if mixed else _WHOLE,
        optimizer="adamw",
        sequence_length=options.max_tokens_per_device,
        micro_batch_size=1,
        gradient_checkpointing=options.gradient_checkpointing,
        lora_rank=options.tuning.rank if lora else None,
        lora_targets=options.tuning.targets if lora else ("all",),
        mixed_precision=mixed,
        loss_bytes=LOSS_BYTES,
    )
