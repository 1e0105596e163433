"""How long optimizer steps take at the very least: a bound that no kernel and no network can undercut.

Only the products with the decoder layers' weights are counted, and every GPU computes at the peak of its data sheet.
Attention's scores, the output matrix, layers that are computed again, a reference model, communication and data come
on top.

Sources:
  A token costs 2 operations a weight forward and 4 backward: Kaplan et al. 2020, arXiv 2001.08361, section 2.1; their
    N, too, leaves embeddings out.
  Of the 4, 2 are for the weights' own gradients, which weights beside an adapter have not: Hu et al. 2021, arXiv
    2106.09685.
  8-bit products, at up to twice the rate: Dettmers et al. 2022, LLM.int8(), arXiv 2208.07339.
"""

from __future__ import annotations

from smtrain.memory.shapes import ModelShape, shape_of
from smtrain.spec import Footprint, Job, Program

_FORWARD = 2
_INPUT_GRADIENTS = 2
_WEIGHT_GRADIENTS = 2


def least_s(job: Job, program: Program, *, steps: int, peak_flops: float) -> float | None:
    """Returns the seconds that optimizer steps take at least, on one GPU for each process.

    Args:
      job: the job.
      program: its program; where `program.saves.length_key` is set, the bound is that of the longest samples.
      steps: optimizer steps.
      peak_flops: floating-point operations a second of each GPU at its best.

    Returns:
      None where the model's shape, what is trained, or the tokens of a step are not known.
    """
    shape = shape_of(job.model.config, job.model.reference)
    tokens = program.saves.tokens_per_step if program.saves is not None else None
    if shape is None or tokens is None or program.footprint is None:
        return None
    operations = steps * tokens * shape.active_parameters * operations_per_weight(shape, program.footprint)
    return operations / (job.topology.world_size * peak_flops)


def operations_per_weight(shape: ModelShape, footprint: Footprint) -> float:
    """Returns the operations at the 16-bit rate that one token costs for each weight it is multiplied by, at least."""
    match footprint.tuning:
        case "full":
            return _FORWARD + _INPUT_GRADIENTS + _WEIGHT_GRADIENTS
        case "freeze":
            last = min(footprint.trainable_layers or 0, shape.layers) / shape.layers
            return _FORWARD + last * (_INPUT_GRADIENTS + _WEIGHT_GRADIENTS)
        case "lora":
            return _FORWARD + _backward(shape, footprint)
        case "qlora":
            return _FORWARD / 2 + _backward(shape, footprint)


def _backward(shape: ModelShape, footprint: Footprint) -> float:
    """Returns the gradients' share that passes through the layers, down to the adapters of the first."""
    targets = footprint.lora_targets
    inside = "all" in targets or any(matrix.name in targets for matrix in shape.matrices)
    return _INPUT_GRADIENTS if inside else 0
