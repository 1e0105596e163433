"""How much memory each GPU will need, part by part, before anything is launched.

The weights, gradients and optimizer states follow from the ZeRO paper and the strategy; the activations and the logits
from what transformers 5.6's Llama keeps for the backward pass, counted with `saved_tensors_hooks` and, for the peak of
the loss, with torch's `MemTracker`: the formulas below meet those counts within 3 %. What remains unknown is the
allocator's fragmentation and kernels' workspaces, so an estimate that fills a GPU is called tight.

Sources:
  ZeRO: Rajbhandari et al. 2020, arXiv 1910.02054, section 3 and figure 1. ZeRO-Offload: Ren et al. 2021, 2101.06840.
  Activations and recomputation: Korthikanti et al. 2022, arXiv 2205.05198, sections 4 and 5.
  LoRA: Hu et al. 2021, arXiv 2106.09685. QLoRA: Dettmers et al. 2023, arXiv 2305.14314.
  18 bytes a weight under autocast: Hugging Face, "Model training anatomy" (6 + 4 + 8).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from smtrain.memory.shapes import ModelShape
from smtrain.sections import StrategyKind
from smtrain.spec import Footprint

GIB = 2**30
_HALF = 2  # bytes of a number in bf16 or fp16

FITS = 0.85
"""Share of a GPU's memory up to which a run fits; the rest is for fragmentation and what the formulas leave out."""

CUDA_CONTEXT_GIB = 0.8
"""CUDA's context with torch's kernels and cuBLAS's workspace: 0.5 to 1 GiB, by GPU and version."""

NCCL_GIB = 0.4
"""NCCL's buffers, where there is more than one process."""

ZERO3_LIVE_PARAMETERS = 1_000_000_000
"""DeepSpeed's default of stage3_max_live_parameters: so many weights may be whole at one time."""

LOGITS_BYTES = 12
"""Per token and entry of the vocabulary, at the peak of the backward pass: the log-softmax of the logits (4), its
gradient (4) and that of the logits (4), all in fp32. The logits themselves are gone by then."""

_ZERO = frozenset({"zero1", "zero2", "zero2_offload", "zero3", "zero3_offload"})
_GRADIENTS_SHARDED = frozenset({"zero2", "zero2_offload", "zero3", "zero3_offload", "fsdp"})
_WEIGHTS_SHARDED = frozenset({"zero3", "zero3_offload", "fsdp"})
_OFFLOADED = frozenset({"zero2_offload", "zero3_offload"})

_STATES: Mapping[str, int] = {"adafactor": 0, "lion": 1, "adagrad": 1, "rmsprop": 1, "sgd": 0, "adam": 2}
"""Word in an optimizer's name → states as large as the weights. Adafactor keeps sums of rows and columns alone."""


Verdict = Literal["fits", "tight", "does not fit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Memory of each GPU, in GiB, and whether it is enough.

    Attributes:
      weights: as the GPU holds them, a reference model's among them.
      gradients: of the trained weights.
      optimizer: its states, and the fp32 copy of the weights that DeepSpeed keeps.
      activations: kept for the backward pass.
      logits: the loss over the vocabulary, at its peak.
      reserve: CUDA's context, NCCL's buffers, and weights gathered from other GPUs for a moment.
      gpu_memory: of the GPU.
      trained: number of trained weights.
      verdict: "fits" up to 85 % of the GPU, "does not fit" beyond all of it, "tight" between.
      explain: one line a part: how it came about.
    """

    weights: float
    gradients: float
    optimizer: float
    activations: float
    logits: float
    reserve: float
    gpu_memory: float
    trained: int
    verdict: Verdict
    explain: tuple[str, ...]

    @property
    def total(self) -> float:
        """All parts together, in GiB."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.logits + self.reserve


def estimate(
    shape: ModelShape, footprint: Footprint, *, strategy: StrategyKind, world_size: int, gpu_memory_gib: float
) -> Estimate:
    """Returns the memory that each GPU needs.

    Args:
      shape: the model.
      footprint: what the training keeps.
      strategy: how it is spread over the GPUs.
      world_size: GPUs over all nodes.
      gpu_memory_gib: of each.
    """
    plan = _Plan(shape=shape, footprint=footprint, strategy=strategy, world_size=world_size)
    parts = {name: (size / GIB, line) for name, size, line in plan.parts()}
    sizes = {name: size for name, (size, _) in parts.items()}
    return Estimate(
        weights=sizes["weights"],
        gradients=sizes["gradients"],
        optimizer=sizes["optimizer"],
        activations=sizes["activations"],
        logits=sizes["logits"],
        reserve=sizes["reserve"],
        gpu_memory=gpu_memory_gib,
        trained=plan.trained,
        verdict=_verdict(sum(sizes.values()), gpu_memory_gib),
        explain=tuple(f"{name} {size:.2f} GiB: {line}" for name, (size, line) in parts.items()),
    )


def trained_parameters(shape: ModelShape, footprint: Footprint) -> int:
    """Returns how many weights are trained.

    An adapter of rank r beside a matrix of m inputs and n outputs has r·(m + n) (LoRA, section 4.1).
    """
    if footprint.tuning == "full":
        return shape.parameters
    if footprint.tuning == "freeze":
        return min(footprint.trainable_layers or 0, shape.layers) * shape.layer_parameters
    rank, targets = footprint.lora_rank or 0, footprint.lora_targets
    layer = sum(m.inputs + m.outputs for m in shape.matrices if "all" in targets or m.name in targets)
    ends = sum(shape.hidden + shape.vocabulary for name in ("embed_tokens", "lm_head") if name in targets)
    return rank * (shape.layers * layer + ends)


def _verdict(total: float, available: float) -> Verdict:
    if total <= FITS * available:
        return "fits"
    return "tight" if total <= available else "does not fit"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """One run's arithmetic, in bytes."""

    shape: ModelShape
    footprint: Footprint
    strategy: StrategyKind
    world_size: int

    def parts(self) -> Iterator[tuple[str, float, str]]:
        """Yields (name, bytes, explanation)."""
        yield "weights", *self._weights()
        yield "gradients", *self._gradients()
        yield "optimizer", *self._optimizer()
        yield "activations", *self._activations()
        yield "logits", *self._logits()
        yield "reserve", *self._reserve()

    @property
    def trained(self) -> int:
        return trained_parameters(self.shape, self.footprint)

    @property
    def _adapters(self) -> bool:
        return self.footprint.tuning in ("lora", "qlora")

    @property
    def _element(self) -> int:
        """Bytes of a number in the computation."""
        return _HALF if self.footprint.mixed_precision or self.footprint.weight_bytes <= _HALF else 4

    @property
    def _autocast(self) -> bool:
        """Whether fp32 weights are computed with in 16 bits, which DeepSpeed and FSDP do with copies of their own."""
        return self.footprint.mixed_precision and self.strategy in ("single", "ddp")

    @property
    def _held(self) -> int:
        """Bytes of a trained weight, and of its gradient."""
        if not self.footprint.mixed_precision:
            return self._element
        return 2 if self.strategy in _ZERO else 4

    @property
    def _tokens(self) -> int:
        it = self.footprint
        return it.micro_batch_size * it.sequences_per_sample * it.sequence_length

    def _share(self, sharded: frozenset[str]) -> int:
        return self.world_size if self.strategy in sharded else 1

    def _frozen(self, count: int) -> float:
        """Returns the bytes of so many weights that are not trained, taken evenly from the whole model."""
        it = self.footprint
        if it.tuning != "qlora":
            return it.weight_bytes * count
        # bitsandbytes replaces the linear layers alone; embeddings, output matrix and norms stay in 16 bits (QLoRA, 3).
        linear = self.shape.layers * sum(matrix.size for matrix in self.shape.matrices) / self.shape.parameters
        return count * (it.weight_bytes * linear + self._element * (1 - linear))

    def _weights(self) -> tuple[float, str]:
        frozen = self.shape.parameters - (0 if self._adapters else self.trained)
        copies = [self._frozen(frozen), self._held * self.trained, 2 * self.trained * self._autocast]
        words = [f"{_millions(frozen)} frozen"] if frozen else []
        words += [f"{_millions(self.trained)} trained × {self._held} bytes"]
        words += ["2 more for autocast's copy"] if self._autocast else []
        if self.footprint.reference_model:
            copies.append(self._frozen(self.shape.parameters))
            words.append("a frozen reference model")
        if self.strategy == "zero3_offload":
            return 0, "in main memory; what is gathered counts as reserve (ZeRO-3 with parameter offload)"
        return sum(copies) / self._share(_WEIGHTS_SHARDED), self._divided(" + ".join(words), _WEIGHTS_SHARDED)

    def _gradients(self) -> tuple[float, str]:
        if self.strategy in _OFFLOADED:
            return 0, "moved to main memory as they come (ZeRO-Offload)"
        size = self._held * self.trained
        line = f"{_millions(self.trained)} × {self._held} bytes"
        if self.strategy == "ddp" and self.world_size > 1:
            # torch's DistributedDataParallel with its default, gradient_as_bucket_view=False.
            return 2 * size, f"{line} × 2, in DDP's buckets once more"
        return size / self._share(_GRADIENTS_SHARDED), self._divided(line, _GRADIENTS_SHARDED)

    def _optimizer(self) -> tuple[float, str]:
        if self.strategy in _OFFLOADED:
            return 0, "in main memory (ZeRO-Offload)"
        name = self.footprint.optimizer
        count = next((states for word, states in _STATES.items() if word in name.lower()), 2)
        # torch keeps states in the weights' own precision; bitsandbytes' 8-bit ones are a byte.
        each = 1 if "8bit" in name else 4 if self.footprint.mixed_precision else self._element
        master = 4 if self.strategy in _ZERO and self.footprint.mixed_precision else 0
        line = f"{_millions(self.trained)} × {count * each + master} bytes ({name}: {count} × {each}"
        line += f", {master} for the fp32 copy)" if master else ")"
        sharded = _ZERO | {"fsdp"}
        return (count * each + master) * self.trained / self._share(sharded), self._divided(line, sharded)

    def _activations(self) -> tuple[float, str]:
        layer = self._tokens * self._token_bytes() + self._score_bytes()
        # Layers below the first trained one keep nothing: no gradient passes through them.
        layers = self.shape.layers
        if self.footprint.tuning == "freeze":
            layers = min(self.footprint.trainable_layers or 0, layers)
        if not self.footprint.gradient_checkpointing:
            return layers * layer, f"{layers} layers × {layer / GIB:.2f} GiB, all kept (no gradient checkpointing)"
        stream = 4 if self._autocast and not self._adapters else self._element
        inputs = layers * self._tokens * stream * self.shape.hidden
        line = f"inputs of {layers} layers ({stream}·tokens·hidden bytes each) + one layer computed again"
        return inputs + layer, f"{line} ({layer / GIB:.2f} GiB)"

    def _token_bytes(self) -> float:
        """Returns what one decoder layer keeps of one token, without the attention's scores.

        After Korthikanti et al., section 4.1, for the Llama family: two RMSNorms keep their input in fp32 and their
        result in 16 bits; the projections their input; attention its queries, keys, values and result; SwiGLU four
        tensors of the intermediate width, once for each expert at work. No dropout.
        """
        shape, element = self.shape, self._element
        norms = 2 * (4 + element) * shape.hidden
        projections = 2 * element * shape.hidden
        attention = element * (2 * shape.query_width + 2 * shape.key_value_width)
        network = 4 * element * shape.intermediate * shape.experts_per_token
        # Counted on transformers 5.6: autocast keeps the residual stream of fp32 weights in fp32, and casts of it; an
        # adapter in fp32 has its input cast.
        extra = (4 if self._adapters else 10) * shape.hidden if self._autocast else 0
        return norms + projections + attention + network + extra

    def _score_bytes(self) -> float:
        """Returns what attention that holds its scores keeps besides: 6·heads·sequence² bytes a sequence, and more.

        Korthikanti et al. have 5·a·s² with dropout and a softmax in 16 bits; transformers' eager attention keeps the
        softmax in fp32 and its cast, and repeats keys and values for all heads.
        """
        it, shape = self.footprint, self.shape
        if it.flash_attention:
            return 0
        repeated = 2 * self._element * (shape.query_width - shape.key_value_width)
        return self._tokens * (6 * shape.heads * it.sequence_length + repeated)

    def _logits(self) -> tuple[float, str]:
        if self.footprint.loss_bytes is not None:
            return self.footprint.loss_bytes, "of a few tokens at a time"
        line = f"{self._tokens} tokens × {self.shape.vocabulary} entries × {LOGITS_BYTES} bytes"
        return LOGITS_BYTES * self._tokens * self.shape.vocabulary, line

    def _reserve(self) -> tuple[float, str]:
        size = CUDA_CONTEXT_GIB * GIB
        line = "CUDA context"
        if self.world_size > 1:
            size += NCCL_GIB * GIB
            line += ", NCCL"
        gathered = 0
        if self.strategy in ("zero3", "zero3_offload"):
            gathered = min(self.shape.parameters, ZERO3_LIVE_PARAMETERS)
        elif self.strategy == "fsdp":
            # The root keeps embedding and output matrix whole; a layer is computed while the next is fetched.
            gathered = self.shape.embedding_parameters + 2 * self.shape.layer_parameters
        if gathered:
            line += f", {_millions(gathered)} weights gathered × {self._element} bytes"
        return size + self._element * gathered, line

    def _divided(self, line: str, sharded: frozenset[str]) -> str:
        return f"({line}) / {self.world_size} GPUs" if self._share(sharded) > 1 else line


def _millions(count: int) -> str:
    return f"{count / 1e6:,.1f} M"
