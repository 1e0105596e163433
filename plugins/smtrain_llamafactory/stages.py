"""LLaMA-Factory's training stages, and how they differ."""

from __future__ import annotations

from dataclasses import dataclass

from smtrain.plugin import RowShape


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One training stage.

    Attributes:
      name: LLaMA-Factory's name of it.
      rows: the rows it trains on.
      evaluates: whether it can compute a loss on evaluation data.
      predicts: whether it can answer, or score, the rows of the evaluation data it trains with.
      packs: whether it joins samples unless told not to (`packing`, get_train_args).
    """

    name: str
    rows: RowShape
    evaluates: bool = True
    predicts: bool = False
    packs: bool = False


PT = Stage(name="pt", rows=RowShape.TEXT, packs=True)
SFT = Stage(name="sft", rows=RowShape.PROMPT_RESPONSE, predicts=True)
RM = Stage(name="rm", rows=RowShape.PREFERENCE, predicts=True)
PPO = Stage(name="ppo", rows=RowShape.PROMPT, evaluates=False)
DPO = Stage(name="dpo", rows=RowShape.PREFERENCE)
KTO = Stage(name="kto", rows=RowShape.FEEDBACK)

STAGES = {stage.name: stage for stage in (PT, SFT, RM, PPO, DPO, KTO)}
"""Name → stage."""
