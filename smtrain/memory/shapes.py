"""How large a model is: from its config.json, or by its name for the models that are widely used.

The families below are computed exactly; of any other model nothing is said, rather than something wrong.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from smtrain.spec import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """A linear layer without its bias.

    Attributes:
      name: as adapters name their targets, e.g. "q_proj".
      inputs: columns.
      outputs: rows.
    """

    name: str
    inputs: int
    outputs: int

    @property
    def size(self) -> int:
        """Elements."""
        return self.inputs * self.outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """A decoder-only transformer.

    Attributes:
      parameters: all of them, a tied output matrix counted once.
      layer_parameters: of one decoder layer, averaged where layers differ.
      layers: decoder layers.
      hidden: width of the residual stream.
      heads: attention heads.
      kv_heads: heads of keys and values.
      head_dim: width of a head.
      intermediate: width of the feed-forward network, of one expert where there are experts.
      vocabulary: tokens.
      tied_embeddings: whether the output matrix is the embedding.
      matrices: the linear layers of one decoder layer that an adapter can sit beside, so not the experts', which
        transformers 5 keeps as one tensor each.
      experts: of each layer; 0 in a dense model.
      experts_per_token: experts that compute for one token; 1 in a dense model.
    """

    parameters: int
    layer_parameters: int
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    tied_embeddings: bool
    matrices: tuple[Matrix, ...]
    experts: int = 0
    experts_per_token: int = 1

    @property
    def query_width(self) -> int:
        """Width of all heads together."""
        return self.heads * self.head_dim

    @property
    def key_value_width(self) -> int:
        """Width of all heads of keys (and of values) together."""
        return self.kv_heads * self.head_dim

    @property
    def active_parameters(self) -> int:
        """Weights of the decoder layers by which one token is multiplied: of the experts, those that compute for it."""
        experts = 3 * self.hidden * self.intermediate * self.experts_per_token if self.experts else 0
        return self.layers * (sum(matrix.size for matrix in self.matrices) + experts)

    @property
    def embedding_parameters(self) -> int:
        """Elements of the embedding, and of the output matrix where it is another."""
        return self.vocabulary * self.hidden * (1 if self.tied_embeddings else 2)


def shape_of(config: Mapping[str, Json], reference: str) -> ModelShape | None:
    """Returns the shape of a model.

    Args:
      config: its config.json; empty when it is not at hand.
      reference: repository, folder or URI, whose last part is looked up when there is no config.json.

    Returns:
      None for a model of another family, or an unknown name.
    """
    if config:
        return _computed(config)
    name = reference.rstrip("/").rpartition("/")[2].lower()
    listed = _listed().get(name)
    return _computed(listed) if listed is not None else None


# ------------------------------------------------------------------------------------------------------------ families


@dataclass(frozen=True, slots=True, kw_only=True)
class _Family:
    """In what the families of config.json's `model_type` differ (transformers 5.6, modeling_*.py).

    Attributes:
      tied: `tie_word_embeddings` when config.json does not say.
      norms: normalisations of a layer as wide as the residual stream.
      qkv_bias: whether queries, keys and values have a bias in any case.
      head_norms: whether queries and keys are normalised, each head with the same weights.
      wide_norms: the same, but each head with its own weights.
      fused: whether the matrices of attention, and of the feed-forward network, are joined into one.
      head_dim: the default; None follows from the width.
      experts: key with the number of experts.
    """

    tied: bool = False
    norms: int = 2
    qkv_bias: bool = False
    head_norms: bool = False
    wide_norms: bool = False
    fused: bool = False
    head_dim: int | None = None
    experts: str = ""


_FAMILIES: Mapping[str, _Family] = {
    "llama": _Family(),
    "mistral": _Family(),
    "mixtral": _Family(experts="num_local_experts"),
    "qwen2": _Family(qkv_bias=True),
    "qwen3": _Family(head_norms=True, head_dim=128),
    "qwen3_moe": _Family(head_norms=True, experts="num_experts"),
    "gemma": _Family(tied=True, head_dim=256),
    "gemma2": _Family(tied=True, norms=4, head_dim=256),
    "gemma3_text": _Family(tied=True, norms=4, head_norms=True, head_dim=256),
    "phi3": _Family(fused=True),
    "smollm3": _Family(tied=True),
    "granite": _Family(),
    "olmo2": _Family(wide_norms=True),
}


def _computed(config: Mapping[str, Json]) -> ModelShape | None:
    kind = config.get("model_type")
    family = _FAMILIES.get(kind) if isinstance(kind, str) else None
    numbers = {
        key: _positive(config, key)
        for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
    }
    # Experts in some layers only, as a few configs of Qwen3 have them: another shape than the one below.
    uneven = bool(config.get("mlp_only_layers")) or config.get("decoder_sparse_step", 1) != 1
    if family is None or uneven or None in numbers.values():
        return None
    return _shape(config, family, cast("dict[str, int]", numbers))


def _shape(config: Mapping[str, Json], family: _Family, numbers: Mapping[str, int]) -> ModelShape:
    hidden, heads = numbers["hidden_size"], numbers["num_attention_heads"]
    kv_heads = _positive(config, "num_key_value_heads") or heads
    head_dim = _positive(config, "head_dim") or family.head_dim or hidden // heads
    experts = _positive(config, family.experts) or 0
    intermediate = (experts and _positive(config, "moe_intermediate_size")) or numbers["intermediate_size"]
    attention = _attention(hidden, heads * head_dim, kv_heads * head_dim, fused=family.fused)
    network = () if experts else _network(hidden, intermediate, fused=family.fused)
    layer = (
        sum(matrix.size for matrix in (*attention, *network))
        + experts * (3 * hidden * intermediate + hidden)  # the router is a matrix of hidden × experts
        + _biases(config, family, attention, network)
        + family.norms * hidden
        + (2 * head_dim if family.head_norms else 0)
        + ((heads + kv_heads) * head_dim if family.wide_norms else 0)
    )
    tied = config.get("tie_word_embeddings")
    tied = tied if isinstance(tied, bool) else family.tied
    vocabulary, layers = numbers["vocab_size"], numbers["num_hidden_layers"]
    return ModelShape(
        parameters=layers * layer + hidden + vocabulary * hidden * (1 if tied else 2),
        layer_parameters=layer,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate=intermediate,
        vocabulary=vocabulary,
        tied_embeddings=tied,
        matrices=(*attention, *network),
        experts=experts,
        experts_per_token=(_positive(config, "num_experts_per_tok") or 1) if experts else 1,
    )


def _attention(hidden: int, queries: int, keys: int, *, fused: bool) -> tuple[Matrix, ...]:
    output = Matrix(name="o_proj", inputs=queries, outputs=hidden)
    if fused:
        return Matrix(name="qkv_proj", inputs=hidden, outputs=queries + 2 * keys), output
    return (
        Matrix(name="q_proj", inputs=hidden, outputs=queries),
        Matrix(name="k_proj", inputs=hidden, outputs=keys),
        Matrix(name="v_proj", inputs=hidden, outputs=keys),
        output,
    )


def _network(hidden: int, intermediate: int, *, fused: bool) -> tuple[Matrix, ...]:
    down = Matrix(name="down_proj", inputs=intermediate, outputs=hidden)
    if fused:
        return Matrix(name="gate_up_proj", inputs=hidden, outputs=2 * intermediate), down
    return (
        Matrix(name="gate_proj", inputs=hidden, outputs=intermediate),
        Matrix(name="up_proj", inputs=hidden, outputs=intermediate),
        down,
    )


def _biases(
    config: Mapping[str, Json], family: _Family, attention: tuple[Matrix, ...], network: tuple[Matrix, ...]
) -> int:
    biased: tuple[Matrix, ...] = ()
    if family.qkv_bias:
        biased += tuple(matrix for matrix in attention if matrix.name != "o_proj")
    elif config.get("attention_bias") is True:
        biased += attention
    if config.get("mlp_bias") is True:
        biased += network
    return sum(matrix.outputs for matrix in biased)


def _positive(config: Mapping[str, Json], key: str) -> int | None:
    value = config.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


@functools.cache
def _listed() -> Mapping[str, Mapping[str, Json]]:
    """Returns lower-case name → what matters of the model's config.json."""
    import json

    text = Path(__file__).with_name("shapes.json").read_text(encoding="utf-8")
    models = json.loads(text)["models"]
    return {name.lower(): model["config"] for model in models for name in model["names"]}
