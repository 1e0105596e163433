"""When a training of LLaMA-Factory saves checkpoints, read off its arguments."""

from __future__ import annotations

import math

from smtrain.plugin import Job, RowShape, Saves
from smtrain_llamafactory.facts import Facts
from smtrain_llamafactory.stages import PPO, PT, SFT, Stage


def saves(job: Job, facts: Facts, stage: Stage, *, packs: bool) -> Saves | None:
    """Returns when checkpoints are saved; None when that is not known.

    Args:
      job: the job.
      facts: LLaMA-Factory's arguments.
      stage: of the training.
      packs: whether `packing` is on.
    """
    every = _every(job, facts)
    # PPO saves in a loop of its own (train/ppo/trainer.py).
    if stage is PPO or not facts.flag("do_train") or every is None:
        return None
    return Saves(
        every_steps=every or None,
        key=f"trainer.args.{'save_steps' if facts.text('save_strategy') == 'steps' else 'save_strategy'}",
        on_request=facts.flag("enable_jit_checkpoint"),
        tokens_per_step=_tokens(job, facts, stage),
        # Joined samples are filled up to cutoff_len: data/processor/supervised.py, pretrain.py.
        length_key="" if packs and stage in (PT, SFT) else "trainer.args.cutoff_len",
    )


def _every(job: Job, facts: Facts) -> int | None:
    """Returns the steps between two checkpoints; 0 for none before the end, None when it is not known.

    transformers, trainer_callback.py: DefaultFlowCallback, TrainerState.compute_steps.
    """
    match facts.text("save_strategy"):
        case "no":
            return 0
        case "steps":
            return _steps(job, facts.number("save_steps") or 0)
        case "epoch":
            return _epoch(job, facts)
        case _:  # "best" depends on how the training goes.
            return None


def _steps(job: Job, every: float) -> int | None:
    """Returns `save_steps`, which below 1 is a share of all steps, in steps."""
    if every <= 0 or every >= 1:
        return max(0, int(every))
    return None if job.steps is None else math.ceil(job.steps * every)


def _epoch(job: Job, facts: Facts) -> int | None:
    """Returns the steps of an epoch, of which `job.steps` are so many epochs rounded up."""
    epochs = facts.number("num_train_epochs") or 0
    if job.steps is None or epochs <= 0 or (facts.number("max_steps") or 0) > 0:
        return None
    return max(1, int(job.steps / max(1, epochs)))


def _tokens(job: Job, facts: Facts, stage: Stage) -> int | None:
    """Returns the tokens of a step whose samples are as long as `cutoff_len` allows."""
    if facts.given("tokenized_path"):
        return None  # cut when they were tokenised, to whatever length
    sequences = 2 if stage.rows is RowShape.PREFERENCE else 1
    return job.batch.global_size * sequences * int(facts.number("cutoff_len") or 0)
