"""Everything that calls AWS: clients, uploads, calls that make something once. Only `client` imports boto3."""

from __future__ import annotations

from smtrain.aws.client import Client, RefusedError

__all__ = ["Client", "RefusedError"]
