"""What planning must know of a model, read off its configuration: no weights are loaded."""

from __future__ import annotations

from dataclasses import dataclass

from smtrain_native.runtime.ending import UserError
from smtrain_native.runtime.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedModel:
    """What planning must know of a model.

    Attributes:
      hidden_size: width of its residual stream.
      shares_prompts: whether a pair's prompt is computed once.
    """

    hidden_size: int
    shares_prompts: bool


def planned_model(settings: Settings) -> PlannedModel:
    """Returns what `model.load` would find.

    Raises:
      UserError: there is no such model.
    """
    from transformers import AutoConfig

    told = settings.model
    try:
        config = AutoConfig.from_pretrained(told.path, revision=told.revision, trust_remote_code=told.trust_remote_code)
    except (OSError, ValueError) as error:
        message = (
            f"model.path={told.path}: its configuration cannot be read: {str(error).strip().partition(chr(10))[0]}"
        )
        raise UserError(message) from None
    shares = settings.batching.share_prompts and told.attention != "separate"
    if shares and settings.kind == "preference" and told.attention == "auto":
        shares = _attends_over_packed_rows(config, trust_remote_code=told.trust_remote_code)
    return PlannedModel(hidden_size=int(config.get_text_config().hidden_size), shares_prompts=shares)


def _attends_over_packed_rows(config: object, *, trust_remote_code: bool) -> bool:
    import torch
    from transformers import AutoModelForCausalLM

    from smtrain_native.runtime.model import why_separate

    # The device `meta` gives tensors a shape and no memory.
    with torch.device("meta"):
        causal = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    return why_separate(causal) is None
