"""AdamW as the settings tell it: its arguments, its groups of weights, its learning rate."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from smtrain_native.runtime.settings import Optimizer


def arguments(told: Optimizer) -> dict[str, Any]:
    """Returns what every AdamW takes."""
    return {"lr": told.learning_rate, "betas": (told.beta1, told.beta2), "eps": told.epsilon}


def groups(model: nn.Module, told: Optimizer) -> list[dict[str, Any]]:
    """Returns matrices, which decay, and biases and norms, which do not."""
    trained = [each for each in model.parameters() if each.requires_grad]
    # ZeRO-3 leaves an empty tensor behind, and the true shape beside it.
    flat = {id(each) for each in trained if len(getattr(each, "ds_shape", each.shape)) < 2}  # noqa: PLR2004
    found = [
        {"params": [each for each in trained if id(each) not in flat], "weight_decay": told.weight_decay},
        {"params": [each for each in trained if id(each) in flat], "weight_decay": 0.0},
    ]
    return [group for group in found if group["params"]]


def set_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Sets the learning rate of all groups."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
