"""The DeepSpeed JSON of a strategy."""

from __future__ import annotations

import json
from collections.abc import Mapping

from smtrain.overrides import lay_over
from smtrain.sections import StrategyKind
from smtrain.spec import Batch, Json

STAGES: Mapping[StrategyKind, int] = {"zero1": 1, "zero2": 2, "zero2_offload": 2, "zero3": 3, "zero3_offload": 3}
"""ZeRO stage of each kind that has one."""

# DeepSpeed 0.19.8's own defaults, in elements; transformers derives better ones from the hidden size.
_REDUCE_BUCKET = 500_000_000
_PREFETCH_BUCKET = 50_000_000
_PERSISTENCE_THRESHOLD = 100_000


def deepspeed_document(
    kind: StrategyKind,
    batch: Batch,
    *,
    mixed_precision: str,
    hf_auto: bool,
    gradient_clipping: float | None = None,
    pin_memory: bool = True,
    overrides: Mapping[str, object] | None = None,
) -> dict[str, Json]:
    """Returns the document.

    transformers' Trainer compares every number here that one of its arguments also decides, and refuses a difference
    (`HfTrainerDeepSpeedConfig.fill_match`, transformers 5.6); only "auto" takes over the argument. So with `hf_auto`
    precision and clipping, which belong to the trainer's arguments, and the sizes that follow from the hidden size,
    which only the loaded model knows, are "auto". The batch sizes are numbers all the same: trainer and document get
    them from the same `Batch`, and a document that says them is refused by DeepSpeed where the processes are not as
    many as planned. There is no optimizer or scheduler: the trainer makes them from its own arguments.

    A trainer that hands the document to DeepSpeed itself needs `hf_auto=False`: DeepSpeed knows no "auto".

    Args:
      kind: one of `STAGES`.
      batch: sizes that add up.
      mixed_precision: "no", "bf16" or "fp16"; unused with `hf_auto`.
      hf_auto: whether transformers' Trainer reads the document.
      gradient_clipping: largest gradient norm; None leaves clipping out; unused with `hf_auto`.
      pin_memory: offload to page-locked memory, which only a GPU has use for.
      overrides: laid over the result.
    """
    stage = STAGES[kind]
    zero: dict[str, Json] = {
        "stage": stage,
        # As LLaMA-Factory 0.9.5 ships it; DeepSpeed's own default is on at stage 3.
        "overlap_comm": False,
        "contiguous_gradients": True,
        "reduce_bucket_size": "auto" if hf_auto else _REDUCE_BUCKET,
    }
    if stage == STAGES["zero3"]:
        zero["stage3_prefetch_bucket_size"] = "auto" if hf_auto else _PREFETCH_BUCKET
        zero["stage3_param_persistence_threshold"] = "auto" if hf_auto else _PERSISTENCE_THRESHOLD
        # Without it the trained weights stay in shards and no model is saved.
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    if kind.endswith("_offload"):
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": pin_memory}
    if kind == "zero3_offload":
        zero["offload_param"] = {"device": "cpu", "pin_memory": pin_memory}
    document: dict[str, Json] = {
        "train_batch_size": batch.global_size,
        "train_micro_batch_size_per_gpu": batch.micro_size,
        "gradient_accumulation_steps": batch.accumulation,
        **_clipping(gradient_clipping, hf_auto=hf_auto),
        "bf16": {"enabled": "auto" if hf_auto else mixed_precision == "bf16"},
        "fp16": {"enabled": "auto" if hf_auto else mixed_precision == "fp16"},
        "zero_optimization": zero,
        # The trainer's optimizer is not one that DeepSpeed has a list entry for.
        "zero_allow_untested_optimizer": True,
    }
    return lay_over(document, overrides or {})


def json_text(document: Mapping[str, Json]) -> str:
    """Returns the document as JSON in its own order, which puts the batch first and related keys together."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _clipping(norm: float | None, *, hf_auto: bool) -> dict[str, Json]:
    if hf_auto:
        return {"gradient_clipping": "auto"}
    return {} if norm is None else {"gradient_clipping": norm}
