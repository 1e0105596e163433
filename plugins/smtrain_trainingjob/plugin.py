"""Registers the backend `trainingjob`."""

from __future__ import annotations

from smtrain.plugin import BackendSpec, ImporterSpec, hookimpl


@hookimpl
def smtrain_backends() -> list[BackendSpec]:
    """Returns the one backend of this plugin."""
    return [
        BackendSpec(
            name="trainingjob",
            load="smtrain_trainingjob.backend:TrainingJobBackend",
            options="smtrain_trainingjob.options:TrainingJobOptions",
            summary="A SageMaker Training Job, on one or many hosts.",
        )
    ]


@hookimpl
def smtrain_importers() -> list[ImporterSpec]:
    """Returns the importer of training jobs that exist."""
    return [
        ImporterSpec(
            name="trainingjob",
            load="smtrain_trainingjob.importing.importer:Importer",
            summary="SageMaker Training Jobs: CreateTrainingJob requests, answers of describe-training-job.",
        )
    ]
