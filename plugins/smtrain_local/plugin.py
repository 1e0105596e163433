"""Registers the backend `local`."""

from __future__ import annotations

from smtrain.plugin import BackendSpec, hookimpl


@hookimpl
def smtrain_backends() -> list[BackendSpec]:
    """Returns the one backend of this plugin."""
    return [
        BackendSpec(
            name="local",
            load="smtrain_local.backend:LocalBackend",
            options="smtrain_local.backend:LocalOptions",
            summary="This machine.",
        )
    ]
