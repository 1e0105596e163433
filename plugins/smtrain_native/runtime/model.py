"""The model, ready for packed rows: loaded, with its adapter, and with a head that gives log-probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from smtrain_native.runtime import attention, flash_attention, lean
from smtrain_native.runtime.ending import UserError
from smtrain_native.runtime.layout import Layout
from smtrain_native.runtime.logprobs import LogprobHead, Scores
from smtrain_native.runtime.settings import Model, Settings, Tuning

_PLAIN_LAYERS = frozenset({"full_attention", "sliding_attention"})


class ModelError(UserError):
    """A model that cannot be trained here; the message is for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A model and what belongs to it.

    Attributes:
      packed: what is trained.
      kernel: how its rows attend: "segments", "flash" or "separate".
      why: they do not attend in one kernel; None if they do, or it was chosen.
      shares_prompts: whether a pair's prompt stands once.
      predicts_untrained: whether tokens that are not trained on are predicted as well.
    """

    packed: PackedModel
    kernel: str
    why: str | None = None
    shares_prompts: bool
    predicts_untrained: bool


class PackedModel(nn.Module):
    """A causal language model that takes a packed row and returns the log-probability of each target."""

    def __init__(self, model: Any, *, kernel: str, compute: torch.dtype) -> None:  # noqa: ANN401  # transformers, peft
        """Wraps a model.

        Args:
          model: a causal language model of transformers, or one that peft put an adapter on.
          kernel: see `Loaded`.
          compute: what it computes in; its weights may be wider.
        """
        super().__init__()
        self.model = model
        self.kernel = kernel
        self.compute = compute
        self.sharding: object = None
        self._read = lean.narrow(self.causal.get_decoder())

    @property
    def causal(self) -> Any:  # noqa: ANN401  # transformers' class of a model
        """The causal language model, without peft's wrapper."""
        return self.model.get_base_model() if hasattr(self.model, "peft_config") else self.model

    def forward(self, layout: Layout) -> torch.Tensor:
        """Returns log p of every target of the layout, shape (R,), fp32."""
        self._read.sizes = layout.read_sizes
        mixed = self.compute != torch.float32 and any(each.dtype == torch.float32 for each in self.parameters())
        with torch.autocast(layout.ids_T.device.type, dtype=self.compute, enabled=mixed):
            hidden_TD = self._hidden(layout)
        hidden_RD = hidden_TD.index_select(0, layout.sources_R).to(self.compute)
        logps_R: torch.Tensor = self.causal.get_output_embeddings()(hidden_RD, layout.targets_R)
        return logps_R

    def _hidden(self, layout: Layout) -> torch.Tensor:
        decoder = self.causal.get_decoder()
        if self.kernel != "separate":
            return _decoded(decoder, layout.ids_T, layout.positions_T)
        rows = [
            (layout.ids_T[span.start : span.stop], layout.positions_T[span.start : span.stop]) for span in layout.spans
        ]
        return torch.cat([_decoded(decoder, ids, positions) for ids, positions in rows])


def _decoded(decoder: nn.Module, ids_T: torch.Tensor, positions_T: torch.Tensor) -> torch.Tensor:
    found = decoder(input_ids=ids_T[None], position_ids=positions_T[None], use_cache=False)
    hidden_TD: torch.Tensor = found.last_hidden_state[0]
    return hidden_TD


def load(
    settings: Settings, device: torch.device, *, trained: bool, sharded: Mapping[str, Any] | None = None
) -> Loaded:
    """Loads the model of a run.

    Args:
      settings: of the run.
      device: where it will compute.
      trained: whether to prepare it for training; otherwise it is as the training finds it, frozen.
      sharded: the DeepSpeed document, if each process is to hold a shard of the weights from the start.

    Raises:
      ModelError: it cannot be trained like that.
    """
    compute = torch.bfloat16 if settings.training.precision == "bf16" else torch.float32
    # Weights that are trained are fp32: a step of the optimizer is smaller than what bf16 tells apart.
    full = trained and settings.tuning.kind == "full"
    # transformers shards what it loads while this lives (`is_deepspeed_zero3_enabled`).
    sharding = None if sharded is None else _sharding(sharded)
    causal = _causal(settings.model, torch.float32 if full else compute)
    kernel, why = _kernel(settings.model, causal, device, compute)
    causal.set_output_embeddings(LogprobHead(_head(causal), _scores(causal.config)))
    model = _tuned(causal, settings, trained=trained)
    _without_dropout(model)
    if trained and settings.training.gradient_checkpointing:
        causal.gradient_checkpointing_enable({"use_reentrant": False})
    if sharding is None:  # otherwise its weights are in pieces
        lean.install(model)
    packed = PackedModel(model, kernel=kernel, compute=compute)
    packed.train(trained)
    packed.sharding = sharding
    shares = kernel != "separate" and settings.batching.share_prompts
    # SamPO trains on a draw of tokens; the likelihood of the chosen response, which may be added, is of all of them.
    untrained = settings.kind == "preference" and settings.loss.kind == "sampo"
    return Loaded(packed=packed, kernel=kernel, why=why, shares_prompts=shares, predicts_untrained=untrained)


def _causal(model: Model, dtype: torch.dtype) -> Any:  # noqa: ANN401
    from transformers import AutoConfig, AutoModelForCausalLM

    where = {"revision": model.revision, "trust_remote_code": model.trust_remote_code}
    config = AutoConfig.from_pretrained(model.path, **where)
    if getattr(config, "quantization_config", None):
        message = f"{model.path} is quantised; this trainer takes weights in 16 or 32 bits."
        raise ModelError(message)
    return AutoModelForCausalLM.from_pretrained(model.path, dtype=dtype, **where)


def _sharding(document: Mapping[str, Any]) -> object:
    import deepspeed
    from transformers.integrations import HfDeepSpeedConfig

    # Else DeepSpeed counts one process while weights are loaded.
    deepspeed.init_distributed()
    return HfDeepSpeedConfig(dict(document))


def _kernel(
    model: Model,
    causal: Any,  # noqa: ANN401
    device: torch.device,
    compute: torch.dtype,
) -> tuple[str, str | None]:
    """Chooses how rows attend, and tells the model; returns it, and why it is not faster."""
    why = why_separate(causal)
    if model.attention == "separate" or (why and model.attention == "auto"):
        return "separate", why
    if why:
        message = f"{type(causal).__name__} cannot attend over packed rows: {why}. Choose trainer.attention=separate."
        raise ModelError(message)
    attention.register()
    causal.set_attn_implementation(attention.NAME)
    why = flash_attention.why_not(device, compute, _widest_head(causal.config.get_text_config()))
    if model.attention == "flash" and why:
        message = f"trainer.attention=flash: a row cannot attend in one kernel: {why}. Say trainer.attention=auto."
        raise ModelError(message)
    return ("segments", why) if why or model.attention == "segments" else ("flash", None)


def _widest_head(config: Any) -> int:  # noqa: ANN401
    """Returns the width of queries and keys; Gemma 4's global layers and DeepSeek's have names of their own for it."""
    widths = [getattr(config, name, None) for name in ("head_dim", "global_head_dim", "qk_head_dim")]
    known = [int(width) for width in widths if width]
    return max(known) if known else int(config.hidden_size // config.num_attention_heads)


def why_separate(causal: Any) -> str | None:  # noqa: ANN401
    """Returns why tokens of one sequence would reach another, or attend otherwise than they should; None if not."""
    text = causal.config.get_text_config()
    if not causal._supports_attention_backend:  # noqa: SLF001  # transformers' own mark, of models and of remote code
        return "its layers do not call transformers' attention interface"
    if set(getattr(text, "layer_types", None) or ()) - _PLAIN_LAYERS:
        return "not all of its layers attend"
    if getattr(text, "attn_logit_softcapping", None) is not None:
        return "it caps its attention scores"
    if any(hasattr(module, "sinks") for module in causal.modules()):
        return "its attention has sinks"
    return None


def _head(causal: Any) -> nn.Linear:  # noqa: ANN401
    head = causal.get_output_embeddings()
    if not isinstance(head, nn.Linear):
        message = f"{type(causal).__name__} has no linear head over its vocabulary."
        raise ModelError(message)
    return head


def _scores(config: Any) -> Scores:  # noqa: ANN401
    """Returns what a model does to its scores: Granite divides, Cohere multiplies, Gemma 2 caps."""
    text = config.get_text_config()
    divided, multiplied = getattr(text, "logits_scaling", None), getattr(text, "logit_scale", None)
    softcap = getattr(text, "final_logit_softcapping", None)
    return Scores(scale=(multiplied or 1.0) / (divided or 1.0), softcap=softcap)


def _tuned(causal: Any, settings: Settings, *, trained: bool) -> Any:  # noqa: ANN401
    """Returns the model with the weights that are trained marked; with its adapter, where it has one."""
    own = settings.model.adapter
    if own is None and (settings.tuning.kind == "full" or not trained):
        causal.requires_grad_(trained)
        return causal
    from peft import PeftModel, get_peft_model

    if own is not None and settings.tuning.kind == "lora":
        model = PeftModel.from_pretrained(causal, own, is_trainable=trained)
    elif own is not None:
        model = PeftModel.from_pretrained(causal, own).merge_and_unload()
        model.requires_grad_(trained)
        return model
    else:
        model = get_peft_model(causal, _lora(settings.tuning))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model


def _lora(tuning: Tuning) -> Any:  # noqa: ANN401
    from peft import LoraConfig

    everywhere = tuning.targets == ("all",)
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=tuning.rank,
        lora_alpha=2 * tuning.rank if tuning.alpha is None else tuning.alpha,
        lora_dropout=tuning.dropout,
        target_modules="all-linear" if everywhere else list(tuning.targets),
    )


def _without_dropout(model: nn.Module) -> None:
    """Turns the model's own dropout off: a reference log-probability would not be comparable; LoRA's stays."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Dropout) and "lora_dropout" not in name:
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0
