"""Rules about what the stages can and cannot do."""

from __future__ import annotations

from collections.abc import Iterator

from smtrain.plugin import Problem
from smtrain_llamafactory.facts import Facts, Rule

_SFT_ONLY = ("predict_with_generate", "neat_packing", "train_on_prompt", "mask_history")
_PPO_LOGGERS = frozenset({"wandb", "tensorboard", "trackio", "none"})


def one_stage(facts: Facts) -> Iterator[Problem]:
    """The trainer's name chooses the stage."""
    said = facts.text("stage") if facts.given("stage") else None
    if said is not None and said != facts.stage:
        yield facts.error("stage", f"is {said}, but the trainer is for {facts.stage}.", f"Use trainer=lf_{said}.")


def sft_only(facts: Facts) -> Iterator[Problem]:
    """hparams/parser.py: get_train_args."""
    for name in _SFT_ONLY:
        if facts.stage != "sft" and facts.flag(name):
            yield facts.error(name, f"works in the stage sft alone, not in {facts.stage}.", "Leave it out.")


def packing_elsewhere(facts: Facts) -> Iterator[Problem]:
    """data/loader.py: _get_dataset_processor packs in pt and sft; DataArguments shortens cutoff_len all the same."""
    if facts.stage not in ("pt", "sft") and facts.flag("packing"):
        yield facts.doubt(
            "packing", f"has no effect in the stage {facts.stage}; only pt and sft pack.", "Leave it out."
        )


def prediction_generates(facts: Facts) -> Iterator[Problem]:
    """hparams/parser.py: get_train_args."""
    if facts.stage == "sft" and facts.flag("do_predict") and not facts.flag("predict_with_generate"):
        yield facts.error("do_predict", "saves nothing without generation.", "Set predict_with_generate: true.")


def generation_under_zero3(facts: Facts) -> Iterator[Problem]:
    """hparams/parser.py: get_train_args."""
    if facts.flag("predict_with_generate") and facts.zero3:
        yield facts.error(
            "predict_with_generate",
            "does not work under DeepSpeed ZeRO-3.",
            "Use strategy=zero2, or predict afterwards.",
        )
    if facts.flag("predict_with_generate") and facts.flag("compute_accuracy"):
        yield facts.error("compute_accuracy", "does not go with predict_with_generate.", "Leave one of them out.")


def best_model_of_a_reward(facts: Facts) -> Iterator[Problem]:
    """hparams/parser.py: get_train_args."""
    if facts.stage in ("rm", "ppo") and facts.flag("load_best_model_at_end"):
        yield facts.error("load_best_model_at_end", f"is not supported in the stage {facts.stage}.", "Leave it out.")


def resuming_a_reward(facts: Facts) -> Iterator[Problem]:
    """hparams/parser.py: get_train_args drops or misses the checkpoint; train/ppo/trainer.py: ppo_train raises."""
    if facts.stage not in ("rm", "ppo") or not facts.args.get("resume_from_checkpoint"):
        return
    if facts.tuning in ("full", "freeze"):
        yield facts.doubt(
            "resume_from_checkpoint",
            f"is ignored in the stage {facts.stage} with {facts.tuning} tuning: the training starts anew.",
            "Start from the checkpoint as the model.",
        )
    elif facts.stage == "ppo":
        yield facts.error("resume_from_checkpoint", "PPO cannot resume.", "Leave it out.")
    elif not facts.given("adapter_name_or_path"):
        yield facts.doubt(
            "resume_from_checkpoint",
            "the value head is not taken from the checkpoint.",
            "Set adapter_name_or_path to the checkpoint too.",
        )


def preference_loss(facts: Facts) -> Iterator[Problem]:
    """hparams/finetuning_args.py: FinetuningArguments.__post_init__."""
    smoothing = facts.number("dpo_label_smoothing") or 0.0
    if facts.stage == "dpo" and facts.text("pref_loss") != "sigmoid" and smoothing > 1e-6:  # noqa: PLR2004  # theirs
        yield facts.error(
            "dpo_label_smoothing",
            f"is for the loss sigmoid, not for {facts.text('pref_loss')}.",
            "Leave it out, or set pref_loss: sigmoid.",
        )


def reference_model(facts: Facts) -> Iterator[Problem]:
    """train/trainer_utils.py: create_ref_model; hparams/parser.py on evaluation alone."""
    if facts.given("ref_model_adapters") and not facts.given("ref_model"):
        yield facts.doubt("ref_model_adapters", "is ignored without ref_model.", "Set ref_model, or leave it out.")
    if facts.stage == "dpo" and not facts.flag("do_train") and not facts.given("ref_model"):
        yield facts.doubt("ref_model", "no reward can be computed at evaluation without it.", "Set ref_model.")


def ppo_rewards(facts: Facts) -> Iterator[Problem]:
    """hparams/finetuning_args.py: __post_init__; train/trainer_utils.py: create_reward_model."""
    if facts.stage != "ppo":
        return
    model, kind = facts.text("reward_model"), facts.text("reward_model_type")
    if model is None:
        yield facts.error("reward_model", "is missing, and PPO needs one.", "Set it to the output of an lf_rm run.")
    elif kind == "api" and not model.startswith("http"):
        yield facts.error("reward_model", f"found {model!r}, no URL.", "With reward_model_type: api give a full URL.")
    if kind == "lora" and facts.tuning != "lora":
        yield facts.error(
            "reward_model_type", f"lora does not go with {facts.tuning} tuning.", "Set reward_model_type: full."
        )
    for name in ("use_kt", "use_unsloth"):
        if kind == "lora" and facts.flag(name):
            yield facts.error(name, "does not support a LoRA reward model.", "Set reward_model_type: full.")


def ppo_limits(facts: Facts) -> Iterator[Problem]:
    """hparams/parser.py: get_train_args; train/ppo/trainer.py: CustomPPOTrainer.__init__."""
    if facts.stage != "ppo":
        return
    if not facts.flag("do_train"):
        yield facts.error("do_train", "PPO only trains.", "Set do_train: true; evaluate with lf_sft.")
    if facts.flag("shift_attn"):
        yield facts.error("shift_attn", "does not go with PPO.", "Leave it out.")
    if facts.sets("eval") or (facts.number("val_size") or 0) > 0:
        yield facts.error("eval_dataset", "PPO takes no evaluation data.", "Leave out eval_dataset and val_size.")
    foreign = sorted(set(facts.names("report_to")) - _PPO_LOGGERS)
    if foreign:
        yield facts.error(
            "report_to", f"PPO cannot report to {', '.join(foreign)}.", "Use wandb, tensorboard or trackio."
        )


def ktransformers_sft(facts: Facts) -> Iterator[Problem]:
    """train/sft/workflow.py: run_sft."""
    for name in ("predict_with_generate", "compute_accuracy"):
        if facts.stage == "sft" and facts.flag("use_kt") and facts.flag(name):
            yield facts.error(name, "does not work with KTransformers.", "Leave it out, or leave out use_kt.")


TRAINING: tuple[Rule, ...] = (
    one_stage,
    sft_only,
    packing_elsewhere,
    prediction_generates,
    generation_under_zero3,
    best_model_of_a_reward,
    resuming_a_reward,
    preference_loss,
    reference_model,
    ppo_rewards,
    ppo_limits,
    ktransformers_sft,
)
