"""How fast a training is, and how well it uses what it runs on."""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass
from typing import Self

import torch

from smtrain_native.runtime.peak_flops import peak_flops
from smtrain_native.runtime.window import Work

_GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """What decides the work of a token.

    Attributes:
      parameters: weights that a token is multiplied with: all but an embedding that is only looked up, and of a
        mixture's experts the share that a token visits.
      trained: those of them that are trained.
      layers: L, of attention.
      attention_width: H · Q, heads times their width.
    """

    parameters: int
    trained: int
    layers: int
    attention_width: int

    @classmethod
    def of(cls, model: torch.nn.Module) -> Self:
        """Returns that of a Hugging Face causal language model, sharded by ZeRO-3 or not, with adapters or not."""
        config = model.config.get_text_config()
        heads = config.num_attention_heads
        width = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
        visited = _visited_experts(config)
        sizes = {
            id(weight): _size(weight) * (visited if ".experts." in name else 1.0)
            for name, weight in model.named_parameters()
        }
        looked_up = model.get_input_embeddings().weight
        head = model.get_output_embeddings()
        if head is None or head.weight is not looked_up:
            sizes.pop(id(looked_up), None)  # a look-up multiplies nothing
        return cls(
            parameters=round(sum(sizes.values())),
            trained=round(sum(sizes.get(id(each), 0.0) for each in model.parameters() if each.requires_grad)),
            layers=config.num_hidden_layers,
            attention_width=width,
        )

    def flops(self, work: Work) -> float:
        """Returns the floating-point operations of a step's forward and backward pass.

        6 N a token and 12 L H Q n a token that attends over n, of Chowdhery et al. 2022 (PaLM, arXiv 2204.02311,
        appendix B), where N weights cost 2 N forward, 2 N for the gradients of activations and 2 N for those of the
        weights: the last are due for trained weights alone. Recomputation does not count, nor does that half of
        attention which is masked get subtracted.
        """
        weights = (4 * self.parameters + 2 * self.trained) * work.tokens
        return weights + 12.0 * self.layers * self.attention_width * work.square_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """Turns work into rates.

    Attributes:
      device: that this process computes on.
      shape: of the model; None leaves MFU out.
      processes: of the training, a device each.
    """

    device: torch.device
    shape: ModelShape | None = None
    processes: int = 1

    def values(self, work: Work, steps: int) -> dict[str, float]:
        """Returns the metrics of some steps.

        Args:
          work: of all of them.
          steps: how many.
        """
        found: dict[str, float] = {"samples": work.samples / max(steps, 1)}
        if work.seconds > 0:
            found["tokens_per_s"] = work.tokens / work.seconds
        if work.capacity_tokens:
            found["fill"] = work.tokens / work.capacity_tokens
        found["memory_gib"] = peak_memory_gib(self.device)
        used = self._flops_utilisation(work)
        return found if used is None else {**found, "mfu": used}

    def _flops_utilisation(self, work: Work) -> float | None:
        """Returns the model's operations as a share of what the devices could have done; None where that is unknown."""
        if self.shape is None or self.device.type != "cuda" or work.seconds <= 0:
            return None
        peak = peak_flops(torch.cuda.get_device_name(self.device))
        return None if peak is None else self.shape.flops(work) / (work.seconds * peak * self.processes)


def peak_memory_gib(device: torch.device) -> float:
    """Returns the most memory that was in use at once: of the GPU by tensors, else of the process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device)) / _GIB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / _GIB if sys.platform == "darwin" else peak * 1024 / _GIB  # bytes there, KiB on Linux


def _visited_experts(config: object) -> float:
    for name in ("num_experts", "num_local_experts", "n_routed_experts"):  # Qwen, Mixtral, DeepSeek
        experts = getattr(config, name, None)
        if experts:
            return min(float(getattr(config, "num_experts_per_tok", experts) / experts), 1.0)
    return 1.0


def _size(weight: torch.Tensor) -> int:
    return int(getattr(weight, "ds_numel", weight.numel()))  # ZeRO-3 leaves an empty tensor, and its size here
