"""What this plugin adds to smtrain."""

from __future__ import annotations

from collections.abc import Iterable

from smtrain.plugin import ImporterSpec, TrainerSpec, hookimpl

TRAININGS = {
    "lf_pt": ("Pretraining", "Continued pre-training on plain text."),
    "lf_sft": ("SupervisedFineTuning", "Supervised fine-tuning."),
    "lf_rm": ("RewardModeling", "Training a reward model on preferences."),
    "lf_ppo": ("ProximalPolicyOptimization", "Reinforcement learning against a reward model (PPO)."),
    "lf_dpo": ("DirectPreferenceOptimization", "Preference optimisation: DPO, IPO, ORPO, SimPO."),
    "lf_kto": ("KahnemanTverskyOptimization", "Preference optimisation on single judged answers (KTO)."),
}
"""Trainer → class in `trainer`, and what it does."""

WITHOUT_TRAINING = {
    "lf_export": ("export_trainer:ExportTrainer", "Merging an adapter into its model, or quantising a model."),
    "lf_api": ("api_trainer:ApiTrainer", "Serving a model with an OpenAI-style API."),
}
"""Trainer → module and class, and what it does."""

ARGS_SCHEMA = {"args": "smtrain_llamafactory.options:args_schema"}


@hookimpl
def smtrain_trainers() -> Iterable[TrainerSpec]:
    """Returns LLaMA-Factory's stages, and its export and API commands."""
    for name, (loaded, does) in TRAININGS.items():
        yield _spec(name, f"trainer:{loaded}", "LlamaFactoryOptions", does)
    for name, (loaded, does) in WITHOUT_TRAINING.items():
        yield _spec(name, loaded, "ModelOnlyOptions", does)


@hookimpl
def smtrain_importers() -> Iterable[ImporterSpec]:
    """Returns the importer of LLaMA-Factory's YAML files."""
    return [
        ImporterSpec(
            name="llamafactory",
            load="smtrain_llamafactory.importer:Importer",
            summary="LLaMA-Factory's YAML files: training, export and inference.",
        )
    ]


def _spec(name: str, loaded: str, options: str, does: str) -> TrainerSpec:
    return TrainerSpec(
        name=name,
        load=f"smtrain_llamafactory.{loaded}",
        options=f"smtrain_llamafactory.options:{options}",
        summary=f"LLaMA-Factory: {does}",
        option_schemas=ARGS_SCHEMA,
    )
